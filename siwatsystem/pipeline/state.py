"""What a pipeline remembers between frames, for one subscription."""

import threading
from dataclasses import dataclass, field

from siwatsystem.pipeline.following import Follower
from siwatsystem.pipeline.node import Node
from siwatsystem.pipeline.trackers import make_tracker
from siwatsystem.pipeline.tracking import Tracking


@dataclass(slots=True)
class PipelineState:
    """A subscription's own state: models are shared, what was seen before never is."""

    frames: int = 0
    """Frames analysed so far."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while a frame is analysed: frames of one subscription go one after the other."""
    _followers: dict[str, tuple[Tracking, Follower]] = field(
        default_factory=dict[str, tuple[Tracking, Follower]]
    )

    def follower(self, node: Node) -> Follower | None:
        """What follows this node's objects; None where the node does not track."""
        tracking = node.tracking
        if tracking is None or not tracking.enabled:
            return None
        known = self._followers.get(node.model_id)
        # An archive that was loaded anew may say something else under the same name.
        if known is None or known[0] is not tracking:
            config = tracking.config.reaching(node.min_confidence)
            follower = Follower(tracking.model_copy(update={"config": config}), make_tracker)
            known = self._followers[node.model_id] = (tracking, follower)
        return known[1]

    @property
    def followers(self) -> list[Follower]:
        return [follower for _, follower in self._followers.values()]
