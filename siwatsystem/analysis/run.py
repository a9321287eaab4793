"""A pipeline over one material after the other: everything counted, annotated and written."""

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from siwatsystem.actions.base import Job
from siwatsystem.analysis import plots, summary
from siwatsystem.analysis.actions import Actions
from siwatsystem.analysis.analysis import Analysed, analyse
from siwatsystem.analysis.drawing import annotated
from siwatsystem.analysis.material import Material
from siwatsystem.analysis.outputs import Outputs
from siwatsystem.analysis.tally import Tally
from siwatsystem.frames import Image
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.streams.clip import clock

log = logging.getLogger(__name__)

FAILURES = 3
"""Most failures that are told apart; their texts may differ from frame to frame."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted of a run."""

    output: Path | None = None
    """Folder for lines, film, summary and plots; None writes nothing."""
    video: bool = True
    stop_on: frozenset[str] = frozenset()
    """Classes that end the run when one is seen, or said by a branch."""
    limit_sec: float | None = None
    """Seconds of material (of a camera: of time) after which the run ends."""
    show: bool = False
    """Whether `Watch` needs annotated frames."""


Watch = Callable[[Analysed, Image | None], bool]
"""Given every result and, where there is one, its annotated frame; says whether to go on."""
Late = Callable[[tuple[Job, ...]], None]
"""Given what a material's end set free: actions that had waited for objects still there."""


class Run:
    """One pipeline's run. `stopped` is asked after each frame, `watch` sees all of them, `late` what
    comes after the last one."""

    def __init__(
        self,
        pipeline: Pipeline,
        actions: Actions,
        context: EventContext,
        plan: Plan,
        stopped: Callable[[], bool],
        watch: Watch,
        late: Late,
    ) -> None:
        self.tally = Tally()
        self.problems: list[str] = []
        """What was damaged or could not be written, in words."""
        self.written: list[Path] = []
        self.ended: str | None = None
        """Why the run ended before its material did."""
        for node in pipeline.spec.pipeline.walk():
            self.tally.outcomes[node.model_id].clear()  # in the archive's order, also what never runs
        self._pipeline = pipeline
        self._actions = actions
        self._context = context
        self._plan = plan
        self._stopped = stopped
        self._watch = watch
        self._late = late

    def over(self, material: Material, name: str) -> None:
        """Analyse one material; its files are called `name`. Raises StreamError, OSError."""
        plan = self._plan
        self.tally.begin()
        if plan.limit_sec is not None:
            material.limit_sec = plan.limit_sec - self.tally.seconds
            if material.limit_sec <= 0:
                self.ended = f"limit of {plan.limit_sec:g} s reached"
                return
        outputs = None if plan.output is None else Outputs(plan.output, name, material, plan.video)
        try:
            self._frames(material, outputs)
        finally:
            if outputs is not None:
                self.written += outputs.close()
                self.problems += outputs.damage
        if self.ended is None and self._stopped():
            # A camera may notice it before the next frame does.
            self.ended = "stopped"
        if material.damage is not None:
            self.problems.append(f"{material.name}: {material.damage}")
        self.tally.end(material.end)

    def finish(
        self, sources: Sequence[str], name: str, wall_sec: float, cpu_sec: float | None = None
    ) -> dict[str, object]:
        """Write summary and plots, as `name`; returns the summary. What cannot be written is a problem."""
        self._tell_failures()
        folder = self._plan.output
        if folder is not None:
            # First, so that the summary tells what became of them.
            self._plot(folder, name)
        found = summary.summary(self.tally, sources, wall_sec, self.problems, cpu_sec)
        if folder is not None:
            path = folder / f"{name}.summary.json"
            try:
                summary.write(found, path)
                self.written.append(path)
            except OSError as error:
                self.problems.append(f"{path} was not written: {error.strerror or error}")
                found["problems"] = list(self.problems)
        return found

    def _tell_failures(self) -> None:
        frames, failures = self.tally.frames, self.tally.failures.most_common()
        for failure, count in failures[:FAILURES]:
            self.problems.append(f"the pipeline failed on {count} of {frames} frames: {failure}")
        rest = sum(count for _, count in failures[FAILURES:])
        if rest:
            self.problems.append(f"the pipeline failed in other ways on {rest} of {frames} frames")

    def _plot(self, folder: Path, name: str) -> None:
        try:
            self.written += plots.plots(self.tally, folder, name)
        except OSError as error:
            self.problems.append(f"{folder}: {error.strerror or error}, plots are missing")
        except Exception as error:
            # Whatever a drawing library stumbles over, the numbers are worth more than their picture.
            log.exception("the plots of %s failed", name)
            self.problems.append(f"plots are missing: {type(error).__name__}: {error}")

    def _frames(self, material: Material, outputs: Outputs | None) -> None:
        pictures = self._plan.show or (outputs is not None and outputs.wants_pictures)
        with closing(analyse(material, self._pipeline, self._actions, self._context)) as frames:
            for analysed in frames:
                if not self._one(analysed, outputs, pictures):
                    break
        late = self._actions.taken()
        self.tally.actions.update(job.kind for job in late)
        self._late(late)

    def _one(self, analysed: Analysed, outputs: Outputs | None, pictures: bool) -> bool:
        """Count, write and show one frame; whether to go on."""
        self.tally.add(analysed)
        canvas = annotated(analysed, self._pipeline, self.tally) if pictures else None
        if outputs is not None:
            outputs.add(analysed, canvas)
        going_on = self._watch(analysed, canvas)
        seen = [name for name in sorted(self._plan.stop_on) if analysed.shows(name)]
        if seen:
            self.ended = f"{' and '.join(seen)} seen at {clock(analysed.frame.at)}"
        elif not going_on or self._stopped():
            self.ended = "stopped"
        return self.ended is None
