"""What a pipeline remembers between frames, for one subscription."""

import threading
from dataclasses import dataclass, field
from functools import partial

from siwatsystem.pipeline.following import Follower
from siwatsystem.pipeline.node import Node
from siwatsystem.pipeline.shared_tracking import SharedTracking
from siwatsystem.pipeline.trackers import Tracker, make_tracker
from siwatsystem.pipeline.tracking import Tracking


@dataclass(slots=True)
class PipelineState:
    """A subscription's own state: models are shared, what was seen before never is."""

    frames: int = 0
    """Frames analysed so far."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while a frame is analysed: frames of one subscription go one after the other."""
    finished: bool = False
    """Set when no more frames are to be analysed; what comes all the same is passed over."""
    shared: SharedTracking | None = None
    """Where its trackers take their steps together with those of other subscriptions; None: nowhere."""
    _followers: dict[str, Follower] = field(default_factory=dict[str, Follower])

    def follower(self, node: Node) -> Follower | None:
        """What follows this node's objects; None where the node does not track."""
        tracking = node.tracking
        if tracking is None or not tracking.enabled:
            return None
        follower = self._followers.get(node.model_id)
        if follower is None:
            config = tracking.config.reaching(node.min_confidence)
            tracking = tracking.model_copy(update={"config": config})
            follower = Follower(tracking, partial(self._first, node.model_id), self.shared)
            self._followers[node.model_id] = follower
        return follower

    def _first(self, model_id: str, tracking: Tracking) -> Tracker:
        fresh = make_tracker(tracking)
        return fresh if self.shared is None else self.shared.first(model_id, tracking, fresh)

    @property
    def followers(self) -> list[Follower]:
        return list(self._followers.values())
