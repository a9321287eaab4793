"""What `siwat run` prints: progress with rate and time left, actions, the trace, and the summary."""

import logging
import logging.handlers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from siwatsystem.actions.base import Job
from siwatsystem.analysis.actions import describe
from siwatsystem.analysis.analysis import Analysed
from siwatsystem.commands import console
from siwatsystem.config import LogSettings
from siwatsystem.logs import FORMAT, RedactingFormatter, redact
from siwatsystem.streams.clip import clock


class LogFile(logging.handlers.RotatingFileHandler):
    """Warnings with their tracebacks, for whoever has to find out why."""

    def __init__(self, path: Path, settings: LogSettings) -> None:
        size = int(settings.max_mb * 1_000_000)
        super().__init__(path, maxBytes=size, backupCount=settings.keep, encoding="utf-8", delay=True)
        self.setFormatter(RedactingFormatter(FORMAT))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """The message is on the screen; that the disk is full is told by what is written there."""


class Report(logging.Handler):
    """Prints while a run goes on; as a log handler each line once, its traceback to `log` only.

    A context manager.
    """

    def __init__(
        self, quiet: bool, trace: bool, actions: str, total_sec: float | None, log: LogFile | None = None
    ) -> None:
        super().__init__(logging.WARNING)
        # Names of classes and sources may look like markup.
        style: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "soft_wrap": True}
        # With --json nothing but the JSON may be on stdout.
        self.out = Console(stderr=quiet, **style)
        self._errors = Console(stderr=True, **style)
        self._log = log
        self._trace = trace
        self._prints_actions = actions == "print"
        self._logged: set[str] = set()
        self._frames = 0
        self._offset = self._at = 0.0
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(show_speed=False),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._errors,
            transient=True,
            disable=not self._errors.is_terminal,
        )
        self._task = self._progress.add_task("", total=total_sec, rate="")

    def __enter__(self) -> "Report":
        logging.basicConfig(
            level=logging.WARNING, handlers=[self, *([self._log] if self._log else [])], force=True
        )
        # What a camera does is told where it matters.
        logging.getLogger("siwatsystem.streams.source").setLevel(logging.ERROR)
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        if self._log is not None:
            self._log.close()

    def begin(self, name: str) -> None:
        """The next material begins."""
        self._offset += self._at
        self._at = 0.0
        self._progress.update(self._task, description=name)

    def frame(self, analysed: Analysed) -> None:
        at = clock(analysed.frame.at)
        self._frames += 1
        self._at = analysed.frame.at
        elapsed = self._progress.tasks[0].elapsed or 0.0
        rate = f"{self._frames / elapsed:.1f} frames/s" if elapsed > 0 else ""
        self._progress.update(self._task, completed=self._offset + self._at, rate=rate)
        if self._trace:
            for step in analysed.trace.steps:
                took = f" ({1000 * step.seconds:.1f} ms)" if step.outcome == "ran" else ""
                result = f" -> {step.result}" if step.result else ""
                self._say(f"{at}  {step.model_id}  {step.outcome} {step.reason}{result}{took}")
        self._show(analysed.jobs)

    def late(self, jobs: tuple[Job, ...]) -> None:
        """What came after the last frame."""
        self._show(jobs)

    def emit(self, record: logging.LogRecord) -> None:
        text = redact(record.getMessage())
        if record.exc_info and self._log is not None:
            text += f" (traceback in {self._log.baseFilename})"
        if text not in self._logged:
            self._logged.add(text)
            self._errors.print(f"siwat: {text}")

    def _show(self, jobs: Sequence[Job]) -> None:
        if self._prints_actions:
            for job in jobs:
                self._say(f"{clock(self._at)}  would {describe(job)}")

    def _say(self, text: str) -> None:
        # On the screen through the progress's console, or the bar would be torn.
        on_screen = self.out.is_terminal and self._errors.is_terminal
        (self._errors if on_screen else self.out).print(text)


def show(found: Mapping[str, Any], mode: str, ended: str | None, written: Sequence[Path]) -> None:
    """The summary as tables on stdout."""
    # Names of classes and sources may look like markup.
    out = Console(highlight=False, markup=False, emoji=False)
    if not out.is_terminal:
        out.width = console.PIPED_WIDTH
    seconds, wall = found["seconds"], found["wallSeconds"]
    names = f"{', '.join(found['sources'][:3])}{' …' if len(found['sources']) > 3 else ''}"
    out.print(
        Text.assemble("\n", (names, "bold"), ": ")
        + f"{found['frames']} frames ({seconds:.1f} s) in {wall:.1f} s, "
        f"{found['framesPerSecond'] or 0:.1f} frames/s, {found['events']} events"
    )
    if ended is not None:
        out.print(f"ended early: {ended}")
    if found["objects"]:
        table = _table("object", "distinct", "most at a time", "boxes")
        for name, one in found["objects"].items():
            distinct = "not tracked" if one["distinct"] is None else str(one["distinct"])
            table.add_row(name, distinct, str(one["most"]), str(one["boxes"]))
        out.print(table)
    if found["labels"]:
        table = _table("branch", "said")
        for node, labels in found["labels"].items():
            table.add_row(node, ", ".join(f"{name} {count}" for name, count in labels.items()), style="")
        out.print(table)
    if found["actions"]:
        table = _table({"print": "would be done", "none": "left out", "do": "to be done"}[mode], "times")
        for kind, count in found["actions"].items():
            table.add_row(kind, str(count))
        out.print(table)
    out.print(_nodes(found["nodes"]))
    for path in written:
        out.print(f"wrote {path}", soft_wrap=True)


def _nodes(nodes: Mapping[str, Any]) -> Table:
    table = _table("node", "ran", "skipped", "failed", "mean ms", "p95 ms", "total s")
    for name, one in nodes.items():
        times = [f"{one[key]:.1f}" if key in one else "" for key in ("meanMs", "p95Ms", "totalSec")]
        table.add_row(name, *(str(one[key]) for key in ("ran", "skipped", "failed")), *times)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="left" if name == "said" else "right", overflow="fold")
    return table
