"""What a pipeline remembers between frames, for one subscription."""

import threading
from dataclasses import dataclass, field

from siwatsystem.pipeline.following import Follower
from siwatsystem.pipeline.node import Node
from siwatsystem.pipeline.trackers import make_tracker


@dataclass(slots=True)
class PipelineState:
    """A subscription's own state: models are shared, what was seen before never is."""

    frames: int = 0
    """Frames analysed so far."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while a frame is analysed: frames of one subscription go one after the other."""
    finished: bool = False
    """Set when no more frames are to be analysed; what comes all the same is passed over."""
    _followers: dict[str, Follower] = field(default_factory=dict[str, Follower])

    def follower(self, node: Node) -> Follower | None:
        """What follows this node's objects; None where the node does not track."""
        tracking = node.tracking
        if tracking is None or not tracking.enabled:
            return None
        follower = self._followers.get(node.model_id)
        if follower is None:
            config = tracking.config.reaching(node.min_confidence)
            follower = Follower(tracking.model_copy(update={"config": config}), make_tracker)
            self._followers[node.model_id] = follower
        return follower

    @property
    def followers(self) -> list[Follower]:
        return list(self._followers.values())
