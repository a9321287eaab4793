"""A request: a camera's files (or a stream) and how far each has come."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from siwatsystem.deepstream.fields import CameraType
from siwatsystem.deepstream.states import FINISHED, FileState, RequestState, Stage

TRIAL_REPORTS = 2
"""Of an app that is further than where it died, until it is believed: it died between two of them."""


@dataclass(slots=True, eq=False)
class File:
    """One file. `frame` and `total` are what the app told last; they are not kept on disk."""

    id: int
    path: str
    name: str = ""
    output: str = ""
    index: int = 0
    state: FileState = FileState.WAITING
    attempts: int = 0
    """How often an app died of it or left it out."""
    spared: int = 0
    """How many of those were taken back, as the app got past that place alone; not kept on disk."""
    error: str | None = None
    result: str | None = None
    frames: int | None = None
    detections: int | None = None
    by: tuple[str, int] | None = None
    """The app and slot that ended it."""
    frame: int = 0
    total: int | None = None
    percent: float = 0.0
    listed: bytes = b""
    """How lists of waiting files name it, once somebody has asked and until it has ended."""


@dataclass(slots=True, eq=False)
class Trial:
    """What was in hand when its app died: whether the app gets past that place."""

    file: File | None
    """None: a stream, or what was just begun."""
    frame: int = 0
    """Where it was then, as far as the app had told."""
    percent: float = 0.0
    reports: int = 0
    """How often the app has told since that it is further."""
    alone: bool = True
    """Nothing is begun beside it."""
    since: float = 0.0
    """When it was begun for that."""
    shared: bool = False
    """Whether there were others to blame."""

    def passed(self, file: File) -> bool:
        """Whether it is beyond that place by now, and beyond what the app had not told yet when it died."""
        self.reports += file.frame > self.frame if self.frame else file.percent > self.percent
        return self.reports >= TRIAL_REPORTS


@dataclass(slots=True, eq=False)
class Request:
    """Every file is in exactly one of the states; `tally` counts them."""

    id: str
    camera_id: int
    kind: CameraType
    path: str
    name: str
    output_dir: str
    created_at: float
    order: float
    """Its place among all that wait: lower is sooner."""
    wanted_instance: str | None = None
    wanted_stream: int | None = None
    closed: bool = True
    """No more files will be pushed."""
    resume: bool = False
    state: RequestState = RequestState.QUEUED
    reason: str | None = None
    stage: Stage = Stage.LINE
    ending: RequestState | None = None
    """What it will be once the app has let go of it: INTERRUPTED or FAILED."""
    attempt: int = 0
    """Counts the times that it was handed to an app."""
    fruitless: int = 0
    """How often in a row it came back without progress."""
    given_up: int = 0
    """How many of its files were given up one after the other, without one that ended in between."""
    instance_id: str | None = None
    stream_id: int | None = None
    """The slot it is in or waits for; None: whichever is free first."""
    began_at: float | None = None
    ended_at: float | None = None
    files: dict[int, File] = field(default_factory=dict[int, File])
    tally: Counter[FileState] = field(default_factory=Counter[FileState])
    given: dict[int, None] = field(default_factory=dict[int, None])
    """In the app's hands, in the order of the pushes."""
    current: int | None = None
    """The file that is being analysed."""
    trial: Trial | None = None
    """While it is not known whether this is what its app died of; not kept on disk."""
    proved: int = 0
    """The attempt in which it has passed its trial."""
    at_file: int | None = None
    """The file that the app said last it is at, though none of its frames was analysed yet."""
    series: int = 0
    """Counts the times that the app told what it has: pushes after that repeat none of those before."""
    pushes: int = 0
    end_told: bool = False
    """The end mark was sent."""
    moved_at: float = 0.0
    """When the app last got on with its files (seconds, as `Control.handle`'s `now`)."""
    doubted: bool = False
    """The app was asked about it, because it had not got on for long, and nothing has moved since."""
    restored: bool = False
    """Read from the disk: which files the app was given is not known until it has told."""
    _line: deque[int] = field(default_factory=deque[int])
    _left: dict[int, File] = field(default_factory=dict[int, File])
    """Files that have not ended, in order."""

    @property
    def unfinished(self) -> int:
        tally = self.tally
        return tally[FileState.WAITING] + tally[FileState.GIVEN] + tally[FileState.PROCESSING]

    @property
    def weight(self) -> int:
        """What it adds to its slot's load."""
        return self.unfinished + 1

    @property
    def run(self) -> str:
        """The `request_id` that this attempt's messages to the app begin with."""
        return f"run:{self.id}#{self.attempt}"

    def is_own(self, request_id: object) -> bool:
        """Whether a message that repeats `request_id` may be about this attempt: it names no other one."""
        if not isinstance(request_id, str) or not request_id.startswith("run:"):
            return True
        return request_id == self.run or request_id.startswith(self.run + "/")

    def names(self, request_id: object) -> bool:
        """Whether it is surely about this attempt."""
        return isinstance(request_id, str) and request_id.startswith("run:") and self.is_own(request_id)

    def moved(self, now: float) -> None:
        """The app gets on with it."""
        self.moved_at, self.doubted = now, False

    def add(self, files: Iterable[File]) -> None:
        """New files, after those that are there."""
        for file in files:
            file.index = len(self.files)
            self.files[file.id] = file
            self.tally[file.state] += 1
            if file.state not in FINISHED:
                self._left[file.id] = file
            if file.state is FileState.WAITING:
                self._line.append(file.id)

    def move(self, file: File, state: FileState) -> None:
        """The one place where a file changes its state."""
        self.tally[file.state] -= 1
        self.tally[state] += 1
        file.state = state
        if state in (FileState.GIVEN, FileState.PROCESSING):
            self.given[file.id] = None
        else:
            self.given.pop(file.id, None)
            if self.at_file == file.id:
                self.at_file = None
        if state in FINISHED:
            self._left.pop(file.id, None)
            file.listed = b""
            if self.trial is not None and self.trial.file is file:
                self.trial = None
        if state is FileState.PROCESSING:
            self.current = file.id
        elif self.current == file.id:
            self.current = None

    @property
    def suspect(self) -> File | None:
        """Where an app hangs or dies without a word: the file that it said it is at, or the first that it
        has, as files are analysed in their order."""
        at = self.at_file if self.at_file in self.given else next(iter(self.given), None)
        return None if at is None else self.files[at]

    def take(self, most: int) -> list[File]:
        """The next files for the app, in order; they are given to it now."""
        taken: list[File] = []
        while self._line and len(taken) < most:
            file = self.files[self._line.popleft()]
            if file.state is FileState.WAITING:
                self.move(file, FileState.GIVEN)
                taken.append(file)
        return taken

    def begin(self, file: File) -> None:
        """It is the one that is analysed now; a slot has no second."""
        self.at_file = file.id
        if self.current == file.id:
            return
        if self.current is not None:
            self.move(self.files[self.current], FileState.GIVEN)
        self.move(file, FileState.PROCESSING)

    def put_back(self, file_ids: Iterable[int]) -> None:
        """Files that were given wait again, before all that wait, in their old order."""
        back = sorted((self.files[file_id] for file_id in file_ids), key=lambda file: file.index)
        for file in back:
            self.move(file, FileState.WAITING)
        self._line.extendleft(file.id for file in reversed(back))

    def unfinished_files(self) -> list[File]:
        """In order."""
        return list(self._left.values())
