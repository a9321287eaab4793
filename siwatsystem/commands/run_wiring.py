"""Puts a run together: sources, archive, outbox, report; and takes it apart again."""

import json
import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from types import FrameType
from urllib.parse import unquote, urlsplit

import typer

from siwatsystem.analysis.actions import ActionMode, Actions
from siwatsystem.analysis.analysis import Analysed
from siwatsystem.analysis.archives import Archives
from siwatsystem.analysis.camera import Camera
from siwatsystem.analysis.doing import actions_of
from siwatsystem.analysis.material import Material, Recording
from siwatsystem.analysis.outputs import claimed
from siwatsystem.analysis.run import Plan, Run
from siwatsystem.analysis.window import Window, trouble
from siwatsystem.commands import console
from siwatsystem.commands.run_report import LogFile, Report, show
from siwatsystem.config import PrecisionSetting, Settings, load_settings
from siwatsystem.errors import InvalidSetting, ModelError, StreamError
from siwatsystem.frames import Image
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.opening import BARE_SUFFIXES
from siwatsystem.pipeline.problems import PipelineInvalid
from siwatsystem.streams.clip import clips

DELIVERY_SEC = 30.0
"""Longest wait for actions at the end; what is not done then stays in the outbox."""
LOG_FILE = "run.log"
"""In the data directory."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for."""

    archive: Path
    source: str
    plan: Plan
    classes: tuple[str, ...]
    fps: float | None
    every: int | None
    trace: bool
    actions: ActionMode
    precision: PrecisionSetting | None
    as_json: bool
    display: str
    session: str | None
    snapshot_ms: int | None

    @property
    def is_live(self) -> bool:
        return self.source.isdecimal() or (
            "://" in self.source and not self.source.lower().startswith("file://")
        )

    @property
    def path(self) -> Path:
        if "://" in self.source:
            return Path(unquote(urlsplit(self.source).path))
        return Path(self.source)


def execute(wanted: Wanted) -> int:
    """The exit status. Raises SiwatError where nothing could be done at all."""
    if wanted.plan.show and (no_window := trouble()):
        console.leave(f"--show: {no_window}", 2)
    _check_archive(wanted)
    settings = _settings(wanted)
    stopped = threading.Event()
    problems: list[str] = []
    materials = _materials(wanted, settings, stopped, problems)
    with ExitStack() as stack:
        _claim_output(wanted, stack)
        report = stack.enter_context(
            Report(
                *(wanted.as_json, wanted.trace, wanted.actions),
                *(_total(materials, wanted.plan), _log_file(settings)),
            )
        )
        actions = stack.enter_context(actions_of(settings, do=wanted.actions == "do"))
        pipeline = stack.enter_context(_pipeline(wanted, settings, actions))
        _check_stop_on(wanted, pipeline)
        window = Window() if wanted.plan.show else None

        def watch(analysed: Analysed, canvas: Image | None) -> bool:
            report.frame(analysed)
            return window is None or canvas is None or window.show(canvas)

        context = EventContext(_camera_id(wanted), wanted.display, wanted.session)
        run = Run(pipeline, actions, context, wanted.plan, stopped.is_set, watch, report.late)
        stack.enter_context(_interruptible(stopped))
        began, busy = time.monotonic(), time.process_time()
        done: list[str] = []
        for name, material in _named(materials):
            report.begin(material.name)
            try:
                run.over(material, name)
                done.append(name)
            except StreamError as error:
                run.problems.append(error.message)
            if run.ended is not None:
                break
        wall, cpu = time.monotonic() - began, time.process_time() - busy
        if window is not None:
            window.close()
        run.problems += problems
        run.problems += actions.settle(DELIVERY_SEC)
        found = run.finish(done, _name(wanted, materials), wall, cpu)
    if wanted.as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
    elif run.tally.frames:
        show(found, wanted.actions, run.ended, run.written)
    for problem in run.problems:
        typer.echo(f"siwat: {problem}", err=True)
    return 1 if run.problems else 0


def _check_archive(wanted: Wanted) -> None:
    path = wanted.archive
    if not path.exists():
        console.leave(f"{path}: there is no such file or folder", 2)
    if wanted.classes and (path.is_dir() or path.suffix.lower() not in BARE_SUFFIXES):
        console.leave(f"--classes is for bare weights; {path} says itself which classes it wants", 2)


def _claim_output(wanted: Wanted, stack: ExitStack) -> None:
    if wanted.plan.output is None:
        return
    try:
        stack.enter_context(claimed(wanted.plan.output))
    except BlockingIOError:
        console.leave(f"another run writes to {wanted.plan.output}", 2)


def _settings(wanted: Wanted) -> Settings:
    try:
        settings = load_settings()
    except InvalidSetting as error:
        console.leave(error.message, 2)
    precision = wanted.precision or (settings.runtime.precision if wanted.is_live else "exact")
    return settings.model_copy(
        update={"runtime": settings.runtime.model_copy(update={"precision": precision})}
    )


def _log_file(settings: Settings) -> LogFile | None:
    if settings.logs.file is None:
        return None
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError:
        # Told by whoever cannot do without that folder.
        return None
    # Not the worker's own, which may run at the same time and rotates it.
    return LogFile(settings.data_dir / LOG_FILE, settings.logs)


def _materials(
    wanted: Wanted, settings: Settings, stopped: threading.Event, problems: list[str]
) -> list[Material]:
    if wanted.is_live:
        return [Camera(wanted.source, settings, stopped.is_set, wanted.fps, wanted.every, wanted.snapshot_ms)]
    paths = clips(wanted.path)
    found: list[Material] = []
    for path in paths:
        try:
            found.append(Recording(path, wanted.fps, wanted.every))
        except StreamError as error:
            if len(paths) == 1:
                raise
            problems.append(error.message)
    if not found:
        raise StreamError("; ".join(problems))
    return found


def _total(materials: list[Material], plan: Plan) -> float | None:
    """Seconds that there will be; None where that is not known."""
    lengths = [None if one.info is None else one.info.seconds for one in materials]
    known = [one for one in lengths if one is not None]
    whole = sum(known) if len(known) == len(lengths) else None
    return plan.limit_sec if whole is None else min(whole, plan.limit_sec or whole)


def _named(materials: list[Material]) -> Iterator[tuple[str, Material]]:
    """Each with a name for its files; of the same name the later ones are numbered."""
    taken: set[str] = set()
    for material in materials:
        numbered = (f"{material.name}-{number}" for number in count(2))
        name = next(one for one in chain([material.name], numbered) if one not in taken)
        taken.add(name)
        yield name, material


def _name(wanted: Wanted, materials: list[Material]) -> str:
    if wanted.is_live or not wanted.path.is_dir():
        return materials[0].name
    return wanted.path.resolve().name or "run"


def _camera_id(wanted: Wanted) -> str:
    return f"{wanted.display};run"


@contextmanager
def _pipeline(wanted: Wanted, settings: Settings, actions: Actions) -> Generator[Pipeline]:
    with ExitStack() as stack:
        archives = stack.enter_context(closing(Archives(settings)))
        try:
            pipeline = stack.enter_context(archives.opened(wanted.archive, actions, wanted.classes))
        except PipelineInvalid as error:
            for problem in error.problems:
                typer.echo(f"siwat: {problem}", err=True)
            raise typer.Exit(1) from None
        except ModelError as error:
            if wanted.classes and isinstance(error.__context__, PipelineInvalid):
                # Nothing else of that pipeline was asked for.
                console.leave(f"--classes: {error.message}", 2)
            name = wanted.archive.name
            raise error if name in error.message else type(error)(f"{name}: {error.message}") from None
        yield pipeline


def _check_stop_on(wanted: Wanted, pipeline: Pipeline) -> None:
    known = sorted({name for model in pipeline.models.values() for name in model.names.values()})
    for name in sorted(wanted.plan.stop_on.difference(known)):
        console.leave(f"--stop-on {name}: no model has that class, there are {', '.join(known)}", 2)


@contextmanager
def _interruptible(stopped: threading.Event) -> Generator[None]:
    """Ctrl-C and SIGTERM end the run after the frame under way; a second Ctrl-C at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
