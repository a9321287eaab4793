"""Runs the tests that an archive carries: its pipeline on its own pictures and clips, without actions."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siwatsystem.actions.base import OutboxEvent
from siwatsystem.errors import PipelineFailed, StreamError
from siwatsystem.expectations import FOLDER, Case, ExpectationsInvalid, read_cases
from siwatsystem.frames import Image
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.memo import PredictionMemo
from siwatsystem.pipeline.node import Node, PipelineSpec
from siwatsystem.pipeline.problems import Problem, json_path
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.sightings import Sightings

if TYPE_CHECKING:
    from siwatsystem.streams.clip import Clip

SPARE = 3
"""Frames more than a tracker's `min_hits`: a box inside another one takes longer to be believed."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one case went: `why` not, in words; how long it took, on how many frames."""

    case: Case
    why: tuple[str, ...]
    seconds: float
    frames: int

    @property
    def passed(self) -> bool:
        return not self.why


@dataclass(frozen=True, slots=True)
class Report:
    """How the cases went, in the order of the file; no case is no failure."""

    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)

    @property
    def first_failure(self) -> str | None:
        """The first case that failed and why, in one line."""
        failed = next((result for result in self.results if not result.passed), None)
        return None if failed is None else f"{FOLDER}/{failed.case.file}: {'; '.join(failed.why)}"


class _Nowhere:
    """Takes the outbox's place and drops what comes."""

    def submit(self, event: OutboxEvent) -> None:
        pass


def run(
    pipeline: Pipeline,
    folder: Path,
    threads: Executor,
    on_result: Callable[[Result], None] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Report:
    """Run the cases of the archive in `folder` through its `pipeline`, in the precision it has now.

    Each case begins with nothing remembered, at the times of its own frames. `threads` run branches,
    `on_result` is told each result at once, `stopped` is asked before each frame. Raises
    ExpectationsInvalid for a bad tests/expected.json or files that cannot be read, PipelineFailed where
    a model fails or when stopped.
    """
    cases = read_cases(folder, pipeline.spec)
    clips = _open(cases, folder)
    tested = without_actions(pipeline, threads)
    results: list[Result] = []
    for case, clip in zip(cases, clips, strict=True):
        result = _case(tested, case, clip, stopped)
        results.append(result)
        on_result(result)
    return Report(tuple(results))


def _open(cases: Sequence[Case], folder: Path) -> "list[Clip]":
    """Every case's file, all that cannot be read told at once."""
    if not cases:
        return []
    from siwatsystem.streams.clip import Clip

    clips: list[Clip] = []
    problems: list[Problem] = []
    for index, case in enumerate(cases):
        path = folder / FOLDER / case.file
        try:
            clips.append(Clip(path, fps=case.fps))
        except StreamError as error:
            problems.append(Problem(json_path(("cases", index, "file")), _named(error, path, case)))
    if problems:
        raise ExpectationsInvalid(problems)
    return clips


def _named(error: StreamError, path: Path, case: Case) -> str:
    """The message with the file as its author knows it."""
    return error.message.replace(str(path), case.file)


def without_actions(pipeline: Pipeline, threads: Executor) -> Pipeline:
    """The same spec and models, with nothing on the other side of its actions."""
    spec = pipeline.spec
    servers = {"redis": spec.redis, "postgresql": spec.postgresql, "mqtt": spec.mqtt, "kafka": spec.kafka}
    targets = {kind: "nowhere" for kind, server in servers.items() if server is not None}
    tested = Pipeline(spec, pipeline.models, _Nowhere(), targets, threads, encoders=pipeline.encoders)
    tested.precision, tested.precision_reason = pipeline.precision, pipeline.precision_reason
    return tested


def _case(pipeline: Pipeline, case: Case, clip: "Clip", stopped: Callable[[], bool]) -> Result:
    began = time.perf_counter()
    root = pipeline.spec.pipeline
    sightings = Sightings(root.tracked, root.object_class)
    state, frames, why = PipelineState(), 0, list[str]()
    try:
        for image, at, memo in _frames(clip, case, pipeline.spec):
            if stopped():
                raise PipelineFailed("the tests were stopped")
            context = EventContext(camera_id=f"test;{case.file}", display_id="test", captured_at=at)
            sightings.add(pipeline.run(image, context, memo, state), at)
            frames += 1
    except StreamError as error:
        why.append(_named(error, clip.path, case))
    except (RuntimeError, ValueError) as error:
        raise PipelineFailed(f"{FOLDER}/{case.file}: a model fails on it: {error}") from error
    if clip.damage is not None:
        why.append(clip.damage)
    why += sightings.failures(case)
    return Result(case, tuple(why), time.perf_counter() - began, frames)


def _frames(clip: "Clip", case: Case, spec: PipelineSpec) -> Iterator[tuple[Image, float, PredictionMemo]]:
    """The frames, their times in seconds, and what models said of them.

    A picture comes as often as a pipeline that tracks must see it, and models look at it once.
    """
    for frame in clip:
        memo = PredictionMemo()
        yield frame.image, frame.at, memo
        if clip.info.seconds == 0:
            for again in range(1, shown_times(spec.pipeline)):
                yield frame.image, again / case.fps, memo


def shown_times(root: Node) -> int:
    """How often a picture is shown: until tracks are confirmed and stable, and votes have settled."""
    if not root.tracked or root.tracking is None:
        return 1
    votes = max(node.voting.min_votes for node in root.walk())
    tracking = root.tracking
    return tracking.config.min_hits + SPARE + tracking.stability_threshold + votes
