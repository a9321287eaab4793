"""Trackers of subscriptions that have followed the same so far take each step together.

What a tracker makes of a frame depends on nothing but what it was given before and what the frame
shows. Subscriptions of one loop are given the same boxes, so those that began on the same frame would
each work out the same; here the first of them does, for all. What is remembered of the objects
themselves (ids, sessions, votes) stays each subscription's own.
"""

import threading
from collections.abc import Sequence

from siwatsystem.detections import Detection
from siwatsystem.pipeline.memo import PredictionMemo
from siwatsystem.pipeline.trackers import Encode, Sighting, Tracker
from siwatsystem.pipeline.tracking import Tracking

Step = tuple[Tracker, list[Sighting | None]]
"""The tracker after a step, and what it said of the boxes."""


class SharedTracking:
    """One per loop. Thread-safe: nodes of a frame are followed side by side.

    A tracker that was handed out here is never changed: each step makes another one of it. Whoever
    was given other boxes, or began later, has another tracker, and shares nothing from there on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: dict[str, tuple[Tracking, Tracker]] = {}
        self._frame: float | None = None
        self._steps = PredictionMemo()

    def first(self, model_id: str, tracking: Tracking, fresh: Tracker) -> Tracker:
        """The tracker of a node that has seen nothing yet: `fresh`, unless there is one already."""
        with self._lock:
            known = self._first.get(model_id)
            if known is None or known[0] != tracking:
                known = self._first[model_id] = (tracking, fresh)
            return known[1]

    def step(
        self,
        tracker: Tracker,
        boxes: Sequence[Detection],
        clock: float,
        frame: float,
        encode: Encode | None,
    ) -> Step:
        """What `tracker` is after `boxes` at `clock`, and what it says of them; see `Tracker.update`.

        Steps are kept while the frame, named by its time, is the same.
        """
        with self._lock:
            if frame != self._frame:
                self._frame, self._steps = frame, PredictionMemo()
            steps = self._steps

        def take() -> tuple[Tracker, Step]:
            after = tracker.copy()
            sightings = after.update(boxes, clock, encode)
            # With the tracker it came from, whose id stays its own as long as it is kept here.
            return tracker, (after, sightings)

        return steps.get((id(tracker), clock, tuple(boxes)), take)[1]
