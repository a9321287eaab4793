"""What the worker's parts see of tracing: times and names go in, spans are made elsewhere.

A frame that is sampled has one trace: `frame` from its capture until it was handed out, below it `wait`
(until a thread took it), an `analyse` for each subscription with a span for each node, `deliver` (until all
that was seen waits for its connection), `outbox` (until an event's actions are on disk) and an `action …` for
each answer of a server to one of those, whenever that is. No span holds a camera's address, a password, or
what was seen.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class NodeStep(Protocol):
    """What one node did, as `pipeline.trace.Step` has it."""

    @property
    def model_id(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def began(self) -> float:
        """By `time.perf_counter()`; 0 where it did not run."""
        ...

    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Taken:
    """A frame that a thread has just taken."""

    captured_at: float
    """Seconds since 1970."""
    monotonic: float
    """The same moment by `time.monotonic()`."""
    sequence: int
    source: str
    """The camera's label, which tells nothing of its address."""
    subscriptions: Sequence[str]
    model: str
    precision: str
    dropped_before: int
    """Frames of this loop that were due since it took the one before, and gave way."""


class EventSpan(Protocol):
    """An event's way to the disk."""

    @property
    def traceparent(self) -> str:
        """What its actions are told to belong to (W3C Trace Context)."""
        ...

    def end(self, *, lost: bool = False) -> None:
        """It is on disk, or was dropped."""
        ...


class FrameSpans(Protocol):
    """The trace of one frame. From one thread at a time, but for `event`."""

    def analysed(
        self, subscription: str, began: float, steps: Iterable[NodeStep], error: Exception | None = None
    ) -> None:
        """A pipeline has run over it since `began` (`time.perf_counter()`)."""
        ...

    def event(self, actions: int) -> EventSpan:
        """An event's actions are handed to the outbox now."""
        ...

    def finish(self, error: Exception | None = None, *, discarded: bool = False) -> None:
        """All that came of it is handed out; `discarded`: nobody wanted it any more."""
        ...


class Tracer(Protocol):
    """Thread-safe; never waits for the collector."""

    def samples(self) -> bool:
        """Whether the next frame is to be traced."""
        ...

    def frame(self, taken: Taken) -> FrameSpans:
        """The trace of a frame that was taken now."""
        ...

    def action(
        self, kind: str, fields: Mapping[str, object], traceparent: str, began: float, error: str | None
    ) -> None:
        """A server has answered to an action, which was begun at `began` (seconds since 1970); `error`:
        why it was refused."""
        ...

    def close(self, timeout: float) -> None:
        """Send what waits, for at most `timeout` seconds."""
        ...
