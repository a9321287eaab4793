"""One file through a pipeline that others use too: its lines, its film, and how it went on or ended."""

import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siwatsystem.analysis import resuming
from siwatsystem.analysis.actions import Actions
from siwatsystem.analysis.analysis import Analysed, analyse
from siwatsystem.analysis.drawing import annotated
from siwatsystem.analysis.material import Recording
from siwatsystem.analysis.outputs import Outputs
from siwatsystem.analysis.tally import Tally
from siwatsystem.errors import StreamError
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.state import PipelineState

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file, and what is to be made of it."""

    source: Path
    lines: Path
    """Where its lines come to lie; their folder is made."""
    fps: float | None = None
    every: int | None = None
    video: bool = False
    resume: bool = False
    """Whether lines of an earlier attempt are gone on with."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. Where it was left before its end, nothing but `left` counts."""

    frames: int = 0
    detections: int = 0
    """Events, those of frames of earlier attempts too."""
    error: str | None = None
    lines: Path | None = None
    """What was written."""
    left: bool = False


Look = Callable[[int, int | None], bool]
"""Given the next frame's number, and how many there are if that is known, after each frame; says whether to
go on."""


def _always(number: int, total: int | None) -> bool:
    return True


class FileRun:
    """`state`: where tracking goes on from the file before; None begins anew. `pipeline_id` tells pipelines
    apart of which lines cannot be put together."""

    def __init__(
        self,
        pipeline: Pipeline,
        actions: Actions,
        context: EventContext,
        pipeline_id: str,
        state: PipelineState | None = None,
    ) -> None:
        self.last_at = 0.0
        """When the last frame was captured, or what stands for that (seconds since 1970)."""
        self._pipeline = pipeline
        self._actions = actions
        self._context = context
        self._pipeline_id = pipeline_id
        self._state = state
        self._tally = Tally()

    def over(
        self,
        wanted: Wanted,
        look: Look,
        *,
        keep: Callable[[], bool],
        after: float = 0.0,
        passing: Look = _always,
    ) -> Outcome:
        """Analyse the file. Times of its frames lie after `after`. Left before its end (`look`, or `passing`,
        which sees the frames that are decoded only, in another thread), what was written stays for another
        attempt if `keep` says so. Raises nothing: what fails is in the outcome."""
        try:
            return self._over(wanted, look, passing, keep, after)
        except StreamError as error:
            return Outcome(error=error.message)
        except BlockingIOError:
            return Outcome(error=f"{wanted.lines}: another analysis writes to it")
        except OSError as error:
            return Outcome(error=f"{error.filename or wanted.lines}: {error.strerror or error}")
        except Exception as error:
            # Decoders and libraries fail in ways that no list covers; the next file may do.
            log.exception("%s failed", wanted.source)
            return Outcome(error=f"{type(error).__name__}: {error}")

    def _over(
        self, wanted: Wanted, look: Look, passing: Look, keep: Callable[[], bool], after: float
    ) -> Outcome:
        of = resuming.identity(wanted.source, self._pipeline_id, self._sampling(wanted))
        begun = resuming.begun(wanted.lines, of) if wanted.resume else None
        material = Recording(wanted.source, wanted.fps, wanted.every, 0 if begun is None else begun.frame)
        material.began_at = max(material.began_at, after)
        total = None if material.info is None else material.info.frames
        material.passing = lambda index: passing(index + 1, total)
        kept = 0
        if begun is not None:
            kept, material.began_at = begun.kept, max(begun.began_at, after)
            log.info("%s goes on at frame %d", wanted.source, begun.frame)
        folder, name = wanted.lines.parent, wanted.lines.name.removesuffix(".jsonl")
        outputs = Outputs(folder, name, material, wanted.video, kept, parts=False)
        try:
            resuming.note(wanted.lines, of, material.began_at)
        except OSError:
            self._leave(wanted, outputs, keep=begun is not None)
            raise
        try:
            finished = self._frames(material, outputs, lambda number: look(number, total))
        except BaseException:
            self._leave(wanted, outputs, keep=False)
            raise
        if outputs.lines_end_early:
            # Room may be made: who asks for this file to go on then begins where there was no more.
            self._leave(wanted, outputs, keep=wanted.resume and outputs.size > 0 and keep())
            return Outcome(error=self._problem(wanted, material, outputs))
        if not finished:
            self._leave(wanted, outputs, keep=keep())
            return Outcome(left=True)
        written = outputs.close()
        resuming.forget(wanted.lines)
        before = begun or resuming.Begun(0, 0, 0, 0, 0.0)
        frames, detections = before.frames + self._tally.frames, before.detections + self._tally.events
        lines = wanted.lines if wanted.lines in written else None
        return Outcome(frames, detections, self._problem(wanted, material, outputs), lines)

    def _leave(self, wanted: Wanted, outputs: Outputs, *, keep: bool) -> None:
        outputs.leave(keep_lines=keep)
        if not keep:
            resuming.forget(wanted.lines)

    def _sampling(self, wanted: Wanted) -> Mapping[str, Any]:
        return {"fps": wanted.fps, "every": wanted.every}

    def _frames(self, material: Recording, outputs: Outputs, look: Callable[[int], bool]) -> bool:
        """Whether it came to its end. Where lines cannot be written the rest would come to nothing."""
        self._actions.taken()  # of what was left before its end
        with closing(analyse(material, self._pipeline, self._actions, self._context, self._state)) as frames:
            for analysed in frames:
                self._one(analysed, outputs)
                if outputs.lines_end_early:
                    return False
                if not look(analysed.frame.index + 1):
                    return False
        return not material.was_left

    def _one(self, analysed: Analysed, outputs: Outputs) -> None:
        self.last_at = analysed.captured_at
        self._tally.add(analysed)
        canvas = annotated(analysed, self._pipeline, self._tally) if outputs.wants_pictures else None
        outputs.add(analysed, canvas)

    def _problem(self, wanted: Wanted, material: Recording, outputs: Outputs) -> str | None:
        """What is missing of the results, in words."""
        problems = [f"the pipeline failed on {count} frames: {what}" for what, count in self._failures()]
        if material.damage is not None:
            problems.append(material.damage)
        # With the folder: that is on the disk which is full.
        unwritten = [f"{wanted.lines.parent}/{damage}" for damage in outputs.damage]
        return "; ".join([*problems, *unwritten]) or None

    def _failures(self) -> list[tuple[str, int]]:
        return self._tally.failures.most_common(3)
