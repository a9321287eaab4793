"""What `siwat run` prints: progress with rate and time left, actions, the trace, and the summary."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from siwatsystem.analysis.actions import describe
from siwatsystem.analysis.analysis import Analysed
from siwatsystem.analysis.run import clock
from siwatsystem.logs import redact

_FILE_COLUMNS = 120


class Report(logging.Handler):
    """Prints while a run goes on; as a log handler each line once. A context manager."""

    def __init__(self, quiet: bool, trace: bool, actions: str, total_sec: float | None) -> None:
        super().__init__(logging.WARNING)
        # With --json nothing but the JSON may be on stdout.
        self.out = Console(stderr=quiet, highlight=False, soft_wrap=True)
        self._errors = Console(stderr=True, highlight=False, soft_wrap=True)
        self._trace = trace
        self._prints_actions = actions == "print"
        self._logged: set[str] = set()
        self._frames = 0
        self._offset = self._at = 0.0
        self._progress = Progress(
            TextColumn("{task.description}"),
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
        logging.basicConfig(level=logging.WARNING, handlers=[self], force=True)
        # What a camera does is told where it matters.
        logging.getLogger("siwatsystem.streams.source").setLevel(logging.ERROR)
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

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
        if self._prints_actions:
            for job in analysed.jobs:
                self._say(f"{at}  would {describe(job)}")

    def emit(self, record: logging.LogRecord) -> None:
        text = redact(record.getMessage())
        if text not in self._logged:
            self._logged.add(text)
            self._errors.print(f"siwat: {text}", markup=False)

    def _say(self, text: str) -> None:
        # On the screen through the progress's console, or the bar would be torn.
        on_screen = self.out.is_terminal and self._errors.is_terminal
        (self._errors if on_screen else self.out).print(text, markup=False)


def show(found: Mapping[str, Any], mode: str, ended: str | None, written: Sequence[Path]) -> None:
    """The summary as tables on stdout."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_FILE_COLUMNS)
    seconds, wall = found["seconds"], found["wallSeconds"]
    console.print(
        f"\n[bold]{', '.join(found['sources'][:3])}{' …' if len(found['sources']) > 3 else ''}[/]: "
        f"{found['frames']} frames ({seconds:.1f} s) in {wall:.1f} s, "
        f"{found['framesPerSecond'] or 0:.1f} frames/s, {found['events']} events"
    )
    if ended is not None:
        console.print(f"ended early: {ended}", markup=False)
    if found["objects"]:
        table = _table("object", "distinct", "most at a time", "boxes")
        for name, one in found["objects"].items():
            distinct = "not tracked" if one["distinct"] is None else str(one["distinct"])
            table.add_row(name, distinct, str(one["most"]), str(one["boxes"]))
        console.print(table)
    if found["labels"]:
        table = _table("branch", "said")
        for node, labels in found["labels"].items():
            table.add_row(node, ", ".join(f"{name} {count}" for name, count in labels.items()), style="")
        console.print(table)
    if found["actions"]:
        table = _table({"print": "would be done", "none": "left out", "do": "done"}[mode], "times")
        for kind, count in found["actions"].items():
            table.add_row(kind, str(count))
        console.print(table)
    console.print(_nodes(found["nodes"]))
    for path in written:
        console.print(f"wrote {path}", markup=False, soft_wrap=True)


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
