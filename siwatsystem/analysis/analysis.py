"""Frames of one material through a pipeline, with a memory of their own and real frame times."""

import logging
import time
import traceback
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace

from siwatsystem.actions.base import Job
from siwatsystem.analysis.actions import Actions
from siwatsystem.analysis.material import Material
from siwatsystem.detections import Detection
from siwatsystem.pipeline.events import Event, EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.pipeline.trace import Trace
from siwatsystem.streams.clip import ClipFrame

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Analysed:
    """A frame and what a pipeline made of it. `captured_at` in seconds since 1970, `seconds` it took."""

    frame: ClipFrame
    captured_at: float
    events: list[Event] = field(default_factory=list[Event])
    trace: Trace = field(default_factory=Trace)
    jobs: tuple[Job, ...] = ()
    seconds: float = 0.0
    failure: str | None = None
    """Why the pipeline gave nothing."""

    @property
    def boxes(self) -> list[Detection]:
        """Every box on the frame, each once: what the root saw, the events, their parts."""
        found = dict.fromkeys(self.trace.seen)
        known = {one.xyxy for one in found}
        for event in self.events:
            for box in (event.detection, *event.boxes):
                if box.xyxy not in known:
                    known.add(box.xyxy)
                    found[box] = None
        return list(found)

    def shows(self, class_name: str) -> bool:
        """Whether something of that class was seen, or said by a branch."""
        said = [branch.class_name for event in self.events for branch in event.branches.values()]
        return class_name in (*said, *(box.class_name for box in self.boxes))


def analyse(
    material: Material,
    pipeline: Pipeline,
    actions: Actions,
    context: EventContext,
    going_on: PipelineState | None = None,
) -> Generator[Analysed]:
    """One result per frame. A frame on which the pipeline fails is told in its result and ends nothing.

    What waited for votes of objects that are still there at the end comes to `actions` after the last one,
    unless tracking is `going_on`: then whoever owns that state finishes it, after the last material.
    Raises StreamError where the material cannot be read at all.
    """
    state = PipelineState() if going_on is None else going_on
    try:
        yield from _frames(material, pipeline, actions, context, state)
    finally:
        if going_on is None:
            pipeline.finish(state, context)


def _frames(
    material: Material, pipeline: Pipeline, actions: Actions, context: EventContext, state: PipelineState
) -> Iterator[Analysed]:
    told: set[tuple[str, str, int | None]] = set()
    for frame in material:
        captured_at = material.began_at + frame.at
        trace = Trace()
        began = time.perf_counter()
        events: list[Event] = []
        failure = None
        try:
            events = pipeline.run(
                frame.image, replace(context, captured_at=captured_at), state=state, trace=trace
            )
        except Exception as error:
            # Models and libraries fail in ways that no list of errors covers; the next frame may do.
            failure = f"{type(error).__name__}: {error}"
            if (kind := _kind(error)) not in told:
                told.add(kind)
                log.exception("%s: frame %d failed: %s", material.name, frame.index, failure)
        seconds = time.perf_counter() - began
        yield Analysed(frame, captured_at, events, trace, actions.taken(), seconds, failure)


def _kind(error: Exception) -> tuple[str, str, int | None]:
    """What failed and where: texts differ from frame to frame."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return type(error).__name__, place.filename, place.lineno
