"""A subscription as the dashboard shows it."""

import time
from dataclasses import dataclass
from typing import Literal

from siwatsystem.errors import SiwatError
from siwatsystem.frames import clip_crop
from siwatsystem.hints import HINTS
from siwatsystem.loops import AnalysisLoop
from siwatsystem.overview.history import History, Rates
from siwatsystem.pipeline.zones import Corner, in_pixels
from siwatsystem.subscriptions import Subscription
from siwatsystem.worker import Worker

ModelState = Literal["loading", "ready", "failed"]
FIGURES = ("analysed", "dropped", "age", "delay")
"""Of each camera's history: frames a second, and seconds."""

TEST_DISPLAY = "dashboard"
"""`displayIdentifier` of what the dashboard subscribes."""
LATELY = 3
"""Samples that a rate is the mean of: a frame that was dropped once is no overload."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong, and what to do about it."""

    code: str
    message: str
    hint: str

    @classmethod
    def of(cls, error: SiwatError) -> "Trouble":
        return cls(error.code, error.message, HINTS[error.code])


@dataclass(frozen=True, slots=True)
class CameraState:
    """One subscription. Ages in seconds, rates in frames a second."""

    id: str
    model: str
    model_id: int | str
    model_state: ModelState
    precision: str | None
    online: bool
    delivers: bool
    """Whether the camera does, whatever its pipeline is."""
    age: float | None
    analysed: int
    dropped: int
    analysed_rate: float | None
    dropped_rate: float | None
    delay: float | None
    """From a frame's arrival to what was seen on it, lately."""
    session: int | str | None
    size: tuple[int, int] | None
    """Width and height of what the pipeline sees."""
    zones: tuple[tuple[Corner, ...], ...]
    trouble: Trouble | None
    test: bool
    """Whether somebody subscribed it from the dashboard."""
    held: bool
    """Whether a connection does: without one it is only kept warm."""


class Record:
    """What is remembered of a subscription from sample to sample."""

    def __init__(self) -> None:
        self.history = History(FIGURES)
        self.delay: float | None = None
        self._analysed, self._dropped = Rates(), Rates()

    def sample(self, at: float, now: float, worker: Worker, identifier: str) -> None:
        """`at`: seconds since 1970; `now`: the monotonic clock."""
        loop = worker.loop_of(identifier)
        member = None if loop is None else loop.members.get(identifier)
        if loop is None or member is None:
            return
        frame = loop.source.latest
        self.history.add(
            at,
            analysed=self._analysed.rate(member.analysed, now),
            dropped=self._dropped.rate(member.dropped, now),
            age=None if frame is None else now - frame.monotonic,
            delay=self.delay,
        )
        self.delay = None


def camera_state(worker: Worker, subscription: Subscription, record: Record | None) -> CameraState:
    """How a subscription is now."""
    loop = worker.loop_of(subscription.identifier)
    member = None if loop is None else loop.members.get(subscription.identifier)
    frame = None if loop is None else loop.source.latest
    pipeline = None if loop is None else loop.loaded.pipeline
    error = None if loop is None else loop.source.error or loop.loaded.error or loop.failing
    size = None if loop is None or frame is None else size_of(loop)
    return CameraState(
        id=subscription.identifier,
        model=subscription.model_name,
        model_id=subscription.model_id,
        model_state=_model_state(loop),
        precision=None if pipeline is None else pipeline.precision,
        online=worker.online(subscription.identifier),
        delivers=loop is not None and loop.source.online,
        age=None if frame is None else round(time.monotonic() - frame.monotonic, 2),
        analysed=member.analysed if member else 0,
        dropped=member.dropped if member else 0,
        analysed_rate=_rounded(record, "analysed", LATELY),
        dropped_rate=_rounded(record, "dropped", LATELY),
        delay=_rounded(record, "delay"),
        session=worker.displays.session_of(subscription.display_id),
        size=size,
        zones=() if loop is None or size is None else zones_of(loop, size),
        trouble=Trouble.of(error) if error else None,
        test=subscription.display_id == TEST_DISPLAY,
        held=worker.subscriptions.holder(subscription.identifier) is not None,
    )


def size_of(loop: AnalysisLoop) -> tuple[int, int] | None:
    """Width and height of the part of its newest frame that a loop's pipeline sees."""
    frame = loop.source.latest
    if frame is None:
        return None
    height, width = frame.shape
    if loop.crop is None:
        return width, height
    x1, y1, x2, y2 = clip_crop(loop.crop, width, height)
    return x2 - x1, y2 - y1


def zones_of(loop: AnalysisLoop, size: tuple[int, int]) -> tuple[tuple[Corner, ...], ...]:
    """The zones of a loop's nodes that track, in pixels of what it sees."""
    pipeline = loop.loaded.pipeline
    if pipeline is None:
        return ()
    zones = [
        node.tracking.zone
        for node in pipeline.spec.pipeline.walk()
        if node.tracking is not None and node.tracked and node.tracking.zone is not None
    ]
    return tuple(in_pixels(zone, *size) for zone in dict.fromkeys(zones))


def _model_state(loop: AnalysisLoop | None) -> ModelState:
    if loop is None or (loop.loaded.pipeline is None and loop.loaded.error is None):
        return "loading"
    return "failed" if loop.loaded.pipeline is None else "ready"


def _rounded(record: Record | None, name: str, count: int = 1) -> float | None:
    value = None if record is None else record.history.lately(name, count)
    return None if value is None else round(value, 2)
