"""What a pipeline remembers between frames, for one subscription."""

from dataclasses import dataclass


@dataclass(slots=True)
class PipelineState:
    """A subscription's own state: models are shared, what was seen before never is.

    Trackers, zones' counters, and sessions by track live here once tracking is carried out.
    """

    frames: int = 0
