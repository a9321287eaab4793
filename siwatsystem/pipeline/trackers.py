"""What follows detections from frame to frame, one per source and node (tracking is not carried out yet)."""

from collections.abc import Sequence
from typing import Protocol

from siwatsystem.detections import Detection


class Tracker(Protocol):
    """Gives detections the ids of their tracks. Used by one frame at a time."""

    def update(self, detections: Sequence[Detection], captured_at: float) -> tuple[Detection, ...]:
        """The same detections with `tracker_id` where one is known; `captured_at` in seconds, rising."""
        ...
