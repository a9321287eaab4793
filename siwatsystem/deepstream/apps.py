"""An analysis app: how it is launched, whether it lives, and its slots."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from siwatsystem.deepstream.requests import Request
from siwatsystem.deepstream.states import AppState


@dataclass(frozen=True, slots=True)
class Spec:
    """What an app is launched with. `streams_count` None: it says itself how many slots it has."""

    config_path: str
    streams_count: int | None = None
    gpu_allocated: tuple[int, ...] = ()
    docker_container: str | None = None
    additional_args: tuple[str, ...] = ()


@dataclass(slots=True)
class Process:
    """What the launcher knows of it. A restart keeps `id`."""

    id: str
    launched_at: float
    host_pid: int | None = None
    container_pid: int | None = None
    log_path: str | None = None
    command: str = ""
    exit_code: int | None = None
    alive: bool = True
    """As far as anybody knows: a process counts until its end was seen."""


def _place(request: Request) -> tuple[float, str]:
    return (request.order, request.id)


class Line:
    """Requests that wait, the soonest first. Positions count from 1."""

    def __init__(self) -> None:
        self._requests: list[Request] = []

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    @property
    def first(self) -> Request | None:
        return self._requests[0] if self._requests else None

    def add(self, request: Request) -> None:
        """At the place that its `order` gives it."""
        insort(self._requests, request, key=_place)

    def add_first(self, request: Request) -> None:
        if self._requests and _place(request) > _place(self._requests[0]):
            request.order = self._requests[0].order - 1
        self.add(request)

    def remove(self, request: Request) -> None:
        del self._requests[self.position(request) - 1]

    def position(self, request: Request) -> int:
        """Raises ValueError where it is not in this line."""
        index = bisect_left(self._requests, _place(request), key=_place)
        if index == len(self._requests) or self._requests[index] is not request:
            raise ValueError(f"{request.id} does not wait here")
        return index + 1

    def move(self, request: Request, position: int) -> list[Request]:
        """To `position`, or the end where that is beyond it. The requests whose `order` changed."""
        self.remove(request)
        index = min(position - 1, len(self._requests))
        before = self._requests[index - 1].order if index else None
        after = self._requests[index].order if index < len(self._requests) else None
        if before is None and after is None:
            changed = [request]
        elif before is None or after is None:
            request.order = before + 1 if after is None and before is not None else (after or 0.0) - 1
            changed = [request]
        elif before < (middle := (before + after) / 2) < after:
            request.order = middle
            changed = [request]
        else:  # no number lies between the two: count anew, ending where the line ended
            self._requests.insert(index, request)
            last = self._requests[-1].order
            for step, other in enumerate(reversed(self._requests)):
                other.order = last - step
            return list(self._requests)
        self._requests.insert(index, request)
        return changed


@dataclass(slots=True, eq=False)
class Slot:
    """Runs one request at a time."""

    stream_id: int
    line: Line = field(default_factory=Line)
    current: Request | None = None
    load: int = 0
    """The weights of all that is in it or waits for it."""
    done: int = 0
    failed: int = 0
    """Files that ended here, since the launch."""
    fps: float | None = None
    trouble: bool = False
    """The app says that this slot has failed."""


@dataclass(slots=True, eq=False)
class App:
    """`process` is None for one that was registered and that somebody else starts."""

    instance_id: str
    spec: Spec
    state: AppState = AppState.EXITED
    reason: str | None = None
    log_tail: tuple[str, ...] = ()
    process: Process | None = None
    run: int = 0
    """Counts the launches, so that news of an earlier one is known as such."""
    restarts: list[float] = field(default_factory=list[float])
    """When it was launched again, within the window."""
    again: bool = False
    """STOPPING: launch it again afterwards; it is not trusted any more."""
    stop_step: int = 0
    """STOPPING: 0 asked, 1 SIGTERM, 2 SIGKILL."""
    connection: int | None = None
    syncing: bool = False
    """Connected again and not asked yet what it does: nothing is begun meanwhile."""
    asked_by: tuple[str, str] | None = None
    """The command (id and fingerprint) whose answer waits for the process to be there."""
    tells_frames: bool = False
    """It says at which frame of a file it is: one that does not cannot be held to get on."""
    blamed: bool = False
    """STOPPING: the requests that it hung at were taken back; what else it has is not to blame."""
    streams_count: int | None = None
    slots: list[Slot] = field(default_factory=list[Slot])
    metrics: dict[str, Any] | None = None
    strays: int = 0
    """Messages about nothing that it was asked for, or that was counted before."""

    @property
    def takes_work(self) -> bool:
        """Whether a request can be begun on it now."""
        return self.state is AppState.RUNNING and self.connection is not None and not self.syncing

    @property
    def wanted(self) -> bool:
        """Whether something runs on it or waits for it."""
        return any(slot.load for slot in self.slots)

    @property
    def working(self) -> bool:
        return any(slot.current is not None for slot in self.slots)
