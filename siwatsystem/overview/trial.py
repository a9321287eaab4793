"""One picture through an archive's pipeline, without its actions, for people who want to see what it says."""

import asyncio
import contextlib
import io
import logging
import threading
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from siwatsystem.archive_tests import shown_times, without_actions
from siwatsystem.frames import Image
from siwatsystem.overview.boxes import boxes_of
from siwatsystem.overview.trees import Times, tree_of
from siwatsystem.pipeline.events import Event, EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.memo import PredictionMemo
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.pipeline.trace import Step, Trace

if TYPE_CHECKING:
    from concurrent.futures import Executor

log = logging.getLogger(__name__)

MOST_BYTES = 20_000_000
"""Of a picture that is tried."""
MOST_PIXELS = 40_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
LIMIT_SEC = 60.0
"""Longest a trial may take."""
EVERY_SEC = 0.5
"""Between two showings of the picture to a pipeline that tracks."""


Result = dict[str, Any]
Outcome = asyncio.Future[Result]


class Busy(Exception):
    """Another picture is being tried."""


class NoPicture(ValueError):
    """What was sent is no picture that can be tried; the message says why, for people."""


class Trials:
    """One at a time; one that hangs keeps its place until it ends. Lives on the event loop's thread."""

    def __init__(self) -> None:
        self._taken = False
        self._ended = threading.Event()
        """Set while no thread is at work."""
        self._ended.set()

    @property
    def busy(self) -> bool:
        return self._taken or not self._ended.is_set()

    @contextmanager
    def turn(self) -> Generator[None]:
        """What a trial needs (its picture, its archive) is fetched within one. Raises Busy."""
        if self.busy:
            raise Busy
        self._taken = True
        try:
            yield
        finally:
            self._taken = False

    async def run(self, pipeline: Pipeline, data: bytes, threads: "Executor") -> Result:
        """Within a turn: what the pipeline says of the picture in `data`. Raises NoPicture, TimeoutError, and
        RuntimeError where a model fails."""
        loop = asyncio.get_running_loop()
        done: Outcome = loop.create_future()
        work = partial(self._work, partial(tried, pipeline, data, threads), done, loop)
        # A thread of its own, as nothing can end one that hangs in a model.
        threading.Thread(target=work, name="trial", daemon=True).start()
        async with asyncio.timeout(LIMIT_SEC):
            return await done

    def _work(self, work: Callable[[], Result], done: Outcome, loop: asyncio.AbstractEventLoop) -> None:
        result: Result | None = None
        error: Exception | None = None
        self._ended.clear()
        try:
            result = work()
        except Exception as failed:
            error = failed
        finally:
            self._ended.set()
        with contextlib.suppress(RuntimeError):  # the event loop has ended, and nobody wants to know
            loop.call_soon_threadsafe(_settle, done, result, error)


def tried(pipeline: Pipeline, data: bytes, threads: "Executor") -> Result:
    """What the pipeline says of the picture in `data`; blocks. Raises NoPicture, RuntimeError."""
    image = picture_of(data)
    began = time.perf_counter()
    # A pipeline that tracks must see it as often as it takes to believe it; models look at it once.
    times, tested = shown_times(pipeline.spec.pipeline), without_actions(pipeline, threads)
    state, memo, events, traces = PipelineState(), PredictionMemo(), list[Event](), list[Trace]()
    for again in range(times):
        traces.append(trace := Trace())
        context = EventContext(camera_id="trial;picture", display_id="trial", captured_at=again * EVERY_SEC)
        try:
            events = tested.run(image, context, memo=memo, state=state, trace=trace)
        except Exception as error:
            # Runtimes and OpenCV fail in ways that no list of errors covers, as in the analysis of a camera.
            words = str(error)
            if not isinstance(error, RuntimeError | ValueError):
                log.exception("a picture that was tried")
                words = f"{type(error).__name__}: {error}"
            raise RuntimeError(f"a model fails on this picture: {words}") from error
    seconds = time.perf_counter() - began
    spent = Times()
    spent.add(1, _first_runs(traces))
    height, width = image.shape[:2]
    return {
        "size": [width, height],
        "milliseconds": round(1000 * seconds, 1),
        "shown": times,
        "precision": tested.precision,
        "boxes": boxes_of(events, traces[-1].seen),
        "events": [_event(event) for event in events],
        "tree": tree_of(tested, spent),
    }


def picture_of(data: bytes) -> Image:
    """The picture in `data`. Its size is read before it is unpacked. Raises NoPicture."""
    import cv2
    import numpy as np
    from PIL import Image as Pillow

    if not data:
        raise NoPicture("no picture was sent")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            width, height = Pillow.open(io.BytesIO(data), formats=FORMATS).size
    except Exception:
        # Decoders fail on rubbish in ways that no list of errors covers.
        raise NoPicture(f"this is no picture: {', '.join(FORMATS)} can be tried") from None
    if width * height > MOST_PIXELS or min(width, height) < 1:
        most = f"at most {MOST_PIXELS / 1e6:.0f} million are tried"
        raise NoPicture(f"the picture has {width}×{height} pixels; {most}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None or image.size == 0:
        raise NoPicture("the picture is damaged")
    return np.asarray(image, np.uint8)


def _first_runs(traces: Sequence[Trace]) -> list[Step]:
    """Each node's steps on the first showing on which it ran: later ones take its answers from memory."""
    chosen: dict[str, list[Step]] = {}
    for trace in traces:
        by_node: dict[str, list[Step]] = {}
        for step in trace.steps:
            by_node.setdefault(step.model_id, []).append(step)
        for name, steps in by_node.items():
            if not any(step.outcome == "ran" for step in chosen.get(name, ())):
                chosen[name] = steps
    return [step for steps in chosen.values() for step in steps]


def _event(event: Event) -> dict[str, Any]:
    return {
        "class": event.class_name,
        "confidence": round(event.confidence, 4),
        "trackId": event.tracker_id,
        "boundingBox": [round(edge, 1) for edge in event.xyxy],
        **event.attributes,
    }


def _settle(done: Outcome, result: Result | None, error: Exception | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    elif result is not None:
        done.set_result(result)
