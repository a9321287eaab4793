"""A slot's thread: its cameras one after the other, each with its files in their order."""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from siwatsystem.analysis.actions import Actions
from siwatsystem.analysis.app_config import AppConfig
from siwatsystem.analysis.desk import Camera, Desk
from siwatsystem.analysis.file_run import FileRun, Outcome, Wanted
from siwatsystem.analysis.leftovers import sweep
from siwatsystem.analysis.live_run import LiveRun, LiveWanted
from siwatsystem.config import Settings
from siwatsystem.deepstream.to_app import PushedFile, StartAnalysis
from siwatsystem.errors import StreamError
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.streams.address import parse_address

log = logging.getLogger(__name__)

_SPEED_SEC = 5.0
"""The time over which frames per second are counted."""


@dataclass(frozen=True, slots=True)
class Work:
    """What all slots share."""

    pipeline: Pipeline
    pipeline_id: str
    actions: Actions
    config: AppConfig
    settings: Settings
    """For live cameras."""


class Speed:
    """Frames per second of the last seconds; any thread."""

    def __init__(self) -> None:
        self._at: deque[float] = deque(maxlen=4096)

    def count(self) -> None:
        self._at.append(time.monotonic())

    def read(self) -> float:
        now = time.monotonic()
        recent = [at for at in list(self._at) if now - at <= _SPEED_SEC]
        return round(len(recent) / _SPEED_SEC, 2)


class Slot:
    """Begins with `start`; `join` once the desk has stopped."""

    def __init__(self, number: int, desk: Desk, work: Work) -> None:
        self.speed = Speed()
        self._number = number
        self._desk = desk
        self._work = work
        self._swept: set[Path] = set()
        """Folders of the camera's results, looked through for what attempts have left."""
        self._thread = threading.Thread(target=self._run, name=f"slot-{number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for what is under way; whether it has ended."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (camera := self._desk.next_camera(self._number)) is not None:
            failed = None
            try:
                self._camera(camera)
            except Exception as error:
                # The slot's outermost loop: what one camera stumbles over must not take the next ones along.
                log.exception("camera %d in slot %d failed", camera.id, self._number)
                failed = f"{type(error).__name__}: {error}"
            self._desk.camera_done(camera, failed)

    def _camera(self, camera: Camera) -> None:
        config = self._work.config
        context = EventContext(f"{config.display};{camera.id}", config.display, None)
        if camera.is_live:
            self._live(camera, context)
            return
        state = PipelineState() if config.tracking == "camera" else None
        after = 0.0
        self._swept.clear()
        try:
            while (file := self._desk.next_file(camera)) is not None:
                after = self._file(camera, file, context, state, after)
        finally:
            if state is not None:
                self._work.pipeline.finish(state, context)
                self._work.actions.taken()

    def _live(self, camera: Camera, context: EventContext) -> None:
        """Until it is interrupted, or the end mark comes."""
        work, config, start = self._work, self._work.config, camera.start

        def seen(frames: int) -> None:
            self.speed.count()
            self._desk.at_live(camera, frames)

        run = LiveRun(
            work.pipeline,
            work.actions,
            work.settings,
            seen,
            lambda reason: self._desk.in_trouble(camera, reason),
            lambda: self._desk.is_ended(camera),
        )
        wanted = LiveWanted(
            start.path,
            Path(start.output_dir) if start.output_dir else None,
            f"camera-{camera.id}",
            config.fps,
            config.every,
            60 * config.live_minutes,
            config.live_files,
        )
        run.over(wanted, context)

    def _file(
        self,
        camera: Camera,
        file: PushedFile,
        context: EventContext,
        state: PipelineState | None,
        after: float,
    ) -> float:
        """Analyse one file and tell of it. Returns when its last frame was."""
        work = self._work
        run = FileRun(work.pipeline, work.actions, context, work.pipeline_id, state)
        told = False

        def look(number: int, total: int | None) -> bool:
            nonlocal told
            self.speed.count()
            self._desk.at_frame(camera, number, total, first=not told)
            told = True
            return not self._desk.is_ended(camera)

        def passing(number: int, total: int | None) -> bool:
            # A file that is gone on with late, or looked at seldom, gets on for long without a result.
            self._desk.at_frame(camera, number, total, first=False)
            return not self._desk.is_ended(camera)

        def keep() -> bool:
            return self._keeps(camera)

        try:
            wanted = self._wanted(camera, file)
            self._sweep(wanted.lines.parent)
            outcome = run.over(wanted, look, keep=keep, after=after, passing=passing)
        except ValueError as error:
            outcome = Outcome(error=str(error))
        if not outcome.left:
            result = "" if outcome.lines is None else str(outcome.lines)
            self._desk.file_done(camera, result, outcome.frames, outcome.detections, outcome.error)
            if outcome.error is not None:
                path = Path(file.file_path)
                log.warning("%s: %s", path, outcome.error.removeprefix(f"{path}: "))
        # A step later: two frames of one camera never have the same time.
        return max(after, run.last_at + 0.001)

    def _sweep(self, folder: Path) -> None:
        if folder not in self._swept:
            self._swept.add(folder)
            sweep(folder)

    def _keeps(self, camera: Camera) -> bool:
        """What was interrupted by a client is not wanted any more, unless files always go on."""
        return self._work.config.resume or camera.interrupt is None

    def _wanted(self, camera: Camera, file: PushedFile) -> Wanted:
        """Raises ValueError for a place that must not be used."""
        config = self._work.config
        source, lines = Path(file.file_path), lines_path(file, camera.start.output_dir).absolute()
        _check(source, config.input_folders, "read")
        _check(lines, config.output_folders, "written")
        if camera.written.setdefault(lines, file.file_id) != file.file_id:
            raise ValueError(f"{lines} holds the results of another file of this camera")
        resume = config.resume or file.start_frame is not None
        return Wanted(source, lines, config.fps, config.every, config.video, resume)


def live_refusal(asked: StartAnalysis, config: AppConfig, settings: Settings) -> str | None:
    """What is wrong with a live camera, before it is opened; None for others."""
    if asked.camera_type != "videostream":
        return None
    try:
        parse_address(asked.path, settings.streams)
        if asked.output_dir:
            _check(Path(asked.output_dir), config.output_folders, "written")
        elif config.actions == "none":
            return "output_dir: nothing says where the camera's lines go"
    except StreamError as error:
        return error.message
    except ValueError as error:
        return str(error)
    return None


def lines_path(file: PushedFile, output_dir: str) -> Path:
    """Where a file's lines go: its `output_path`, with `.jsonl` where it has no such ending; in a folder
    (also `output_dir`, where the file names nothing) under the video's name. Raises ValueError."""
    name = f"{Path(file.file_name or file.file_path).stem}.jsonl"
    if not file.output_path:
        if not output_dir:
            raise ValueError("neither the file nor the camera says where its results go")
        return Path(output_dir) / name
    path = Path(file.output_path)
    if file.output_path.endswith("/") or path.is_dir():
        return path / name
    return path if path.suffix == ".jsonl" else path.with_name(f"{path.name}.jsonl")


def _check(path: Path, folders: tuple[Path, ...], verb: str) -> None:
    if not folders:
        return
    found = path.resolve()
    if not any(found.is_relative_to(folder.resolve()) for folder in folders):
        raise ValueError(f"{path}: nothing may be {verb} there, by the app's config")
