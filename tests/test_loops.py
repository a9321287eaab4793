"""Analysis loops by value: a source that shows what it is given, scripted models."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from siwatsystem import loops
from siwatsystem.detections import Detection
from siwatsystem.errors import StreamLost
from siwatsystem.frames import Frame
from siwatsystem.loading import Loaded, PipelineKey
from siwatsystem.loops import Analysis, AnalysisLoop, Member
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline_threads import PipelineThreads
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.subscriptions import Subscription
from siwatsystem.supervision import Care, Watched
from siwatsystem.testing import FakeModel, FakeSource, fake_pipeline, until
from siwatsystem.tracing.tracer import Tracer
from tests import scripted

CAR = Detection("Car", 0.9, (1, 2, 11, 12))
INTERVAL = 0.02


class Bench:
    """A loop over a fake source. `on_deliver` may raise in the loop's place."""

    def __init__(
        self,
        model: FakeModel,
        crop: Any = None,
        interval: float = INTERVAL,
        care: Care | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.model = model
        self.source = FakeSource()
        self.loaded = Loaded(PipelineKey.of(1, "http://m/a"), fake_pipeline(model))
        self.delivered: list[tuple[str, int, Analysis]] = []
        self.told: list[str | None] = []
        self.on_deliver: Callable[[Member, Frame], None] = lambda member, frame: None
        self.threads = PipelineThreads(2)
        self.branches = ThreadPoolExecutor(2)
        self.loop = AnalysisLoop(
            self.source,
            self.loaded,
            crop,
            interval_sec=interval,
            threads=self.threads,
            deliver=self._deliver,
            on_failure=lambda loop: self.told.append(loop.failing and loop.failing.message),
            care=care,
            tracer=tracer,
        )

    def _deliver(self, member: Member, frame: Frame, analysis: Analysis) -> None:
        self.on_deliver(member, frame)
        self.delivered.append((member.subscription.identifier, frame.sequence, analysis))

    def join(self, identifier: str, session: int | None = None) -> Member:
        wish = Subscription(identifier, SourceSpec("rtsp://camera/1"), 1, "M", "http://m/a")
        member = self.loop.members[identifier] = Member(wish, lambda display: session)
        return member

    @property
    def sequences(self) -> list[int]:
        return [sequence for _, sequence, _ in self.delivered]


def play(
    scene: Callable[[Bench], Coroutine[Any, Any, None]], model: FakeModel | None = None, **options: Any
) -> None:
    async def main() -> None:
        bench = Bench(model or FakeModel((CAR,), ["Car"]), **options)
        bench.loop.start()
        try:
            await scene(bench)
        finally:
            bench.loop.stop()
            bench.threads.close()
            bench.branches.shutdown()
            assert bench.source.listeners == 0

    asyncio.run(main())


class Gate:
    """A model's answer that waits until `open`; `entered` counts who came."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = 0

    def __call__(self, image: Any) -> tuple[Detection, ...]:
        self.entered += 1
        assert self.open.wait(10)
        return (CAR,)


def test_the_newest_frame_is_analysed_and_never_twice():
    async def scene(bench: Bench) -> None:
        for _ in range(3):
            bench.source.show()
        bench.join("d;c")
        bench.loop.nudge()
        await until(lambda: bench.delivered)
        await asyncio.sleep(0.15)  # longer than it takes to look for frames that were left over
        assert bench.sequences == [3]
        bench.source.show()
        await until(lambda: len(bench.delivered) == 2)
        assert bench.sequences == [3, 4]

    play(scene)


def test_a_frame_is_taken_when_it_is_due_and_not_before():
    async def scene(bench: Bench) -> None:
        bench.join("d;c")
        bench.source.show()
        await until(lambda: bench.delivered)
        for _ in range(4):
            bench.source.show()
            await asyncio.sleep(0.01)
        assert bench.sequences == [1]

    play(scene, interval=60.0)


def test_it_waits_for_the_pipeline_and_for_a_source_that_is_online():
    async def scene(bench: Bench) -> None:
        bench.join("d;c")
        pipeline, bench.loaded.pipeline = bench.loaded.pipeline, None
        bench.source.show()
        bench.loop.nudge()
        await asyncio.sleep(2 * INTERVAL)
        assert bench.delivered == []
        bench.source.fail(StreamLost("gone"))
        bench.loaded.pipeline = pipeline
        bench.loop.nudge()
        await asyncio.sleep(2 * INTERVAL)
        assert bench.delivered == []
        bench.source.show()
        await until(lambda: bench.delivered)
        assert bench.sequences == [2]

    play(scene)


def test_what_was_seen_is_kept_with_the_member_in_full_frame_pixels():
    async def scene(bench: Bench) -> None:
        member = bench.join("d;c", session=7)
        bench.source.show(np.zeros((48, 64, 3), np.uint8))
        await until(lambda: bench.delivered)
        analysis = bench.delivered[0][2]
        assert analysis.offset == (10, 20)
        assert analysis.session_id == 7
        assert [event.xyxy for event in analysis.events] == [CAR.xyxy]
        assert [box.xyxy for box in member.seen] == [(11, 22, 21, 32)]
        assert member.last == ({"class": "Car"},)
        assert member.analysed == 1
        assert bench.model.seen[0].shape == (20, 30, 3)

    play(scene, crop=(10, 20, 40, 40))


def test_members_share_one_inference_and_keep_their_own_state():
    async def scene(bench: Bench) -> None:
        members = [bench.join(name) for name in ("d1;c", "d2;c", "d3;c")]
        bench.source.show()
        await until(lambda: len(bench.delivered) == 3)
        assert [name for name, _, _ in bench.delivered] == ["d1;c", "d2;c", "d3;c"]
        assert len(bench.model.seen) == 1
        assert [member.state.frames for member in members] == [1, 1, 1]
        assert len({id(member.state) for member in members}) == 3

    play(scene)


def test_who_left_while_a_frame_was_in_the_pool_gets_nothing():
    gate = Gate()

    async def scene(bench: Bench) -> None:
        gone = bench.join("gone;c")
        bench.join("stays;c")
        bench.source.show()
        await until(lambda: gate.entered)
        del bench.loop.members["gone;c"]
        back = bench.join("gone;c")  # a new subscription of that name is another one
        gate.open.set()
        await until(lambda: bench.delivered)
        assert [name for name, _, _ in bench.delivered] == ["stays;c"]
        assert (gone.analysed, back.analysed, gone.seen) == (0, 0, ())

    play(scene, FakeModel(gate, ["Car"]))


def test_a_frame_in_the_pool_is_discarded_when_the_loop_stops():
    gate = Gate()

    async def scene(bench: Bench) -> None:
        bench.join("d;c")
        bench.source.show()
        await until(lambda: gate.entered)
        bench.loop.stop()
        gate.open.set()
        await asyncio.sleep(0.05)
        assert bench.delivered == []

    play(scene, FakeModel(gate, ["Car"]))


def test_what_cannot_be_delivered_to_one_costs_neither_the_others_nor_the_loop():
    async def scene(bench: Bench) -> None:
        def refuse(member: Member, frame: Frame) -> None:
            if member.subscription.identifier == "bad;c" and frame.sequence < 3:
                raise ValueError("cannot be told")

        bench.on_deliver = refuse
        bench.join("bad;c")
        bench.join("good;c")
        for count in (1, 2):
            bench.source.show()
            await until(lambda count=count: len(bench.delivered) == count)
        assert [name for name, _, _ in bench.delivered] == ["good;c", "good;c"]
        await until(lambda: bench.loop.failing)
        assert bench.told == ["frames cannot be analysed: ValueError: cannot be told"]
        bench.source.show()
        await until(lambda: len(bench.told) == 2)
        assert bench.told[1] is None
        assert bench.loop.failing is None
        assert [name for name, _, _ in bench.delivered[2:]] == ["bad;c", "good;c"]

    play(scene)


def test_a_pipeline_that_fails_is_told_once_and_once_when_it_is_over():
    answers = iter([RuntimeError("out of memory"), RuntimeError("still"), (CAR,), (CAR,)])

    def answer(image: Any) -> Any:
        said = next(answers)
        if isinstance(said, Exception):
            raise said
        return said

    async def scene(bench: Bench) -> None:
        bench.join("d;c")
        for count in (1, 2, 3, 4):
            bench.source.show()
            await until(lambda count=count: len(bench.model.seen) == count)
        await until(lambda: len(bench.delivered) == 2)
        assert bench.sequences == [3, 4]
        assert bench.told == ["frames cannot be analysed: RuntimeError: out of memory", None]

    play(scene, FakeModel(answer, ["Car"]))


def test_one_members_pipeline_that_fails_does_not_cost_the_others():
    async def scene(bench: Bench) -> None:
        pipeline = bench.loaded.pipeline
        assert pipeline is not None
        run = pipeline.run

        def fail_for_one(image: Any, context: Any, **options: Any) -> Any:
            if context.camera_id == "bad;c":
                raise IndexError("no such track")
            return run(image, context, **options)

        pipeline.run = fail_for_one  # type: ignore[method-assign]
        bench.join("bad;c")
        bench.join("good;c")
        bench.source.show()
        await until(lambda: bench.told)
        assert [name for name, _, _ in bench.delivered] == ["good;c"]
        assert bench.told == ["frames cannot be analysed: IndexError: no such track"]

    play(scene)


def test_a_frame_that_cannot_be_made_a_picture_does_not_end_the_loop():
    async def scene(bench: Bench) -> None:
        bench.join("d;c")
        bench.source.show(lambda: 1 / 0)  # type: ignore[arg-type]
        await until(lambda: bench.loop.failing)
        bench.source.show()
        await until(lambda: bench.loop.failing is None)
        assert bench.sequences == [2]

    play(scene)


def test_an_idle_camera_drops_nothing():
    async def scene(bench: Bench) -> None:
        member = bench.join("d;c")
        bench.source.show()
        await until(lambda: bench.delivered)
        dropped = member.dropped
        await asyncio.sleep(0.1)
        bench.source.show()
        await until(lambda: len(bench.delivered) == 2)
        # Only a machine that stalls in the model itself could have dropped anything.
        assert dropped == 0
        assert member.dropped == 0

    play(scene, interval=0.09)


def test_slow_analysis_counts_what_it_drops():
    gate = Gate()

    async def scene(bench: Bench) -> None:
        member = bench.join("d;c")
        bench.source.show()
        await until(lambda: gate.entered)
        while member.missed < 4:
            bench.source.show()
            await asyncio.sleep(INTERVAL)
        late = bench.join("late;c")
        gate.open.set()
        await until(lambda: member.dropped >= 4)
        assert late.dropped == 0  # it was not there yet
        await until(lambda: len(bench.delivered) == 2 + (late.analysed > 0))
        assert bench.sequences[-1] == bench.source.frames

    play(scene, FakeModel(gate, ["Car"]))


def test_what_a_model_that_hangs_drops_is_counted_while_it_hangs():
    gate = Gate()

    async def scene(bench: Bench) -> None:
        member = bench.join("d;c")
        bench.source.show()
        await until(lambda: gate.entered)
        while not member.dropped:
            bench.source.show()
            await asyncio.sleep(INTERVAL)
        assert gate.entered == 1
        gate.open.set()

    play(scene, FakeModel(gate, ["Car"]))


def test_the_newest_frame_is_taken_when_the_turn_comes():
    async def scene(bench: Bench) -> None:
        hold = threading.Event()
        for _ in range(2):
            bench.threads.do_once("another", partial(hold.wait, 10))
        bench.join("d;c")
        for _ in range(3):
            bench.source.show()
        hold.set()
        await until(lambda: bench.delivered)
        await asyncio.sleep(3 * INTERVAL)
        assert bench.sequences == [3]

    play(scene)


def test_a_frame_that_came_too_early_is_analysed_when_no_other_follows():
    async def scene(bench: Bench) -> None:
        bench.join("d;c")
        bench.source.show()
        await until(lambda: bench.delivered)
        bench.source.show()
        await until(lambda: len(bench.delivered) == 2)
        assert bench.sequences == [1, 2]

    play(scene, interval=0.2)


def waiting(threads: ThreadPoolExecutor) -> tuple[scripted.Bench, Pipeline]:
    """A pipeline whose message waits for the votes on a brand."""
    actions = scripted.Bench(threads)
    message = {"type": "redis_publish", "channel": "cars", "message": '{"brand": "{brand.brand}"}'}
    node = scripted.root(
        objectClass="Car",
        tracking={"once": True},
        branches=[scripted.branch("brand")],
        parallelActions=[message],
    )
    models = {"root": scripted.detector(scripted.CAR), "brand": scripted.said("Aster")}
    return actions, actions.pipeline(node, models)


def test_what_waits_for_votes_is_sent_when_its_display_leaves():
    async def scene(bench: Bench) -> None:
        actions, bench.loaded.pipeline = waiting(bench.branches)
        bench.join("d;c")
        bench.source.show(scripted.PICTURE)
        await until(lambda: bench.delivered)
        assert actions.outbox.jobs == []
        bench.loop.leave("d;c")
        bench.loaded.pipeline = None  # the last one has left, and the archive is closed
        await until(lambda: actions.outbox.jobs)
        assert [event.subscription for event in actions.outbox.events] == ["d;c"]

    play(scene)


def test_what_waits_for_votes_is_sent_when_the_worker_stops():
    async def scene(bench: Bench) -> None:
        actions, bench.loaded.pipeline = waiting(bench.branches)
        bench.join("d;c")
        bench.source.show(scripted.PICTURE)
        await until(lambda: bench.delivered)
        bench.loop.stop()
        bench.loop.finish()
        assert len(actions.outbox.jobs) == 1

    play(scene)


def test_who_left_is_not_analysed_any_more_and_nothing_is_done_twice():
    gate = Gate()

    async def scene(bench: Bench) -> None:
        actions = scripted.Bench(bench.branches)
        node = scripted.root(objectClass="Car", tracking={"once": True}, actions=[scripted.SAVE])
        blocked = FakeModel(gate, ["Car", "Frontal"])
        bench.loaded.pipeline = actions.pipeline(node, {"root": blocked})
        bench.join("stays;c")
        bench.join("leaves;c")
        bench.source.show(scripted.PICTURE)
        await until(lambda: gate.entered)
        bench.loop.leave("leaves;c")
        gate.open.set()
        await until(lambda: bench.delivered)
        await asyncio.sleep(5 * INTERVAL)
        assert {event.subscription for event in actions.outbox.events} == {"stays;c"}

    play(scene)


def test_a_frame_that_does_not_end_is_given_up_and_the_next_ones_are_analysed():
    """However often: a loop that gives up a frame has a thread for the next one."""
    watched: list[Watched] = []
    hung = [Gate() for _ in range(4)]
    answers = iter(hung)
    model = FakeModel(lambda image: next(answers, lambda _: (CAR,))(image), ["Car"])

    def watch(part: Watched) -> Callable[[], None]:
        watched[:] = [part]
        return watched.clear

    async def scene(bench: Bench) -> None:
        member = bench.join("d;c")
        for gate in hung:
            bench.source.show()
            await until(lambda gate=gate: gate.entered)
            assert watched[0].look(time.monotonic()) is None
            assert watched[0].look(time.monotonic() + 66) == "a frame takes longer than 65 s"
            watched[0].restart()
            await until(lambda before=member.state: member.state is not before)
        assert bench.told == ["a frame was given up: its analysis did not end"]
        bench.source.show()
        await until(lambda: bench.sequences == [5])
        assert bench.told[1:] == [None]
        state = member.state
        # One more, for which no restart is left: nothing else would tell that no frame comes any more.
        watched[0].failed("a frame takes longer than 65 s")
        await until(lambda: bench.loop.stands)
        why = "a frame takes longer than 65 s, as did those before: none is analysed for now"
        assert bench.told[2:] == [why]
        watched[0].failed(None)
        await until(lambda: not bench.loop.stands)
        assert bench.told[2:] == [why, why], "it is told that it is online again"
        for gate in hung:
            gate.open.set()
        bench.source.show()
        await until(lambda: bench.sequences == [5, 6])  # and nothing of those that came back late
        assert member.state is state
        bench.loop.stop()
        assert watched == []

    play(scene, model, care=Care(watch, 60.0))


def test_a_restart_is_said_to_be_one_only_where_it_is(monkeypatch: pytest.MonkeyPatch):
    watched: list[Watched] = []
    gate = Gate()

    async def scene(bench: Bench) -> None:
        bench.join("d;c")
        part = watched[0]
        assert part.restart() is False, "no frame is under way"
        bench.source.show()
        await until(lambda: gate.entered)
        with monkeypatch.context() as patched:
            patched.setattr(bench.threads, "may_abandon", lambda: False)
            assert part.restart() is False, "too many hang"
        assert part.restart() is True
        gate.open.set()
        await until(lambda: bench.told)

    play(scene, FakeModel(gate, ["Car"]), care=Care(lambda part: watched.append(part) or watched.pop, 60.0))


def test_after_the_event_loop_nothing_is_restarted():
    watched: list[Watched] = []
    gate = Gate()
    kept: list[Bench] = []

    async def scene() -> None:
        care = Care(lambda part: watched.append(part) or (lambda: None), 60.0)
        bench = Bench(FakeModel(gate, ["Car"]), care=care)
        kept.append(bench)
        bench.loop.start()
        bench.join("d;c")
        bench.source.show()
        await until(lambda: gate.entered)

    asyncio.run(scene())
    assert watched[0].restart() is False
    gate.open.set()
    kept[0].threads.close()
    kept[0].branches.shutdown()


def test_who_leaves_while_a_frame_hangs_holds_no_further_thread(monkeypatch: pytest.MonkeyPatch):
    gate = Gate()
    finished: list[str] = []

    async def scene(bench: Bench) -> None:
        for name in ("one;c", "two;c"):
            bench.join(name)
        pipeline: Any = bench.loaded.pipeline
        monkeypatch.setattr(pipeline, "finish", lambda state, context: finished.append(context.camera_id))
        bench.source.show()
        await until(lambda: gate.entered)
        await asyncio.sleep(0.05)
        monkeypatch.setattr(loops, "GIVEN_UP_AFTER_SEC", 0.0)
        bench.loop.leave("one;c")
        gate.open.set()
        await until(lambda: bench.delivered)
        bench.loop.leave("two;c")
        await until(lambda: finished)
        assert finished == ["two;c"]

    play(scene, FakeModel(gate, ["Car"]), care=Care(stuck_sec=0.01))
