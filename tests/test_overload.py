"""Overload and trouble of one, as the others see it: the worker with fake models, real threads, and real
cameras where it is a camera that stalls."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest

from siwatsystem.detections import Detection
from siwatsystem.frames import Image
from siwatsystem.loading import PipelineKey
from siwatsystem.loops import Member
from siwatsystem.opening import Opening
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.testing import FakeModel, fake_pipeline, until
from tests.cameras import rtsp
from tests.test_worker import CAR, Bench, FakeEngine, play

FRAME_SEC = 0.02


class Models(FakeEngine):
    """An engine with a model for each archive, by the end of its address."""

    def __init__(self, models: dict[str, FakeModel]) -> None:
        super().__init__(lambda: fake_pipeline(FakeModel((CAR,), ["Car"])))
        self._models = models

    def open(self, key: PipelineKey, opening: Opening) -> Pipeline:
        return fake_pipeline(self._models[key.bare.rsplit("/", 1)[-1]])


def slow(seconds: float) -> Callable[[Image], tuple[Detection, ...]]:
    def answer(image: Image) -> tuple[Detection, ...]:
        time.sleep(seconds)
        return (CAR,)

    return answer


def member(bench: Bench, name: str) -> Member:
    loop = bench.worker.loop_of(name)
    assert loop is not None
    return loop.members[name]


async def loaded(bench: Bench, *names: str) -> None:
    for name in names:
        await until(lambda name=name: bench.worker.loop_of(name).loaded.pipeline)  # type: ignore[union-attr]


def dropped_of() -> dict[str, float]:
    """`siwat_frames_dropped` by subscription, as `/metrics` shows it."""
    text = generate_latest().decode()
    lines = [line for line in text.splitlines() if line.startswith("siwat_frames_dropped_total{")]
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in lines}


def test_every_subscription_of_an_overloaded_worker_gets_its_share_and_its_drops_are_told():
    names = [f"share{number};c" for number in range(6)]

    async def scene(bench: Bench) -> None:
        bench.worker.loader._opener = Models({"m": FakeModel(slow(0.03), ["Car"])})
        one = bench.connect()
        for name in names:
            bench.subscribe(one, name, camera=name[:6])
        await loaded(bench, *names)
        while min(member(bench, name).analysed for name in names) < 12:
            for name in names:
                bench.source(name[:6]).show()
            await asyncio.sleep(FRAME_SEC)
        counts = [member(bench, name).analysed for name in names]
        assert min(counts) >= 0.8 * sum(counts) / len(counts)
        told = dropped_of()
        assert all(told[name] == member(bench, name).dropped > 0 for name in names)
        bench.unsubscribe(one, names[0])
        assert names[0] not in dropped_of()

    play(scene, max_streams=9, pipeline={"threads": 1})


def test_a_pipeline_that_hangs_costs_the_others_nothing():
    go = threading.Event()

    def hang(image: Image) -> Any:
        go.wait(20)
        return (CAR,)

    async def scene(bench: Bench) -> None:
        models = {"hung": FakeModel(hang, ["Car"]), "m": FakeModel((CAR,), ["Car"])}
        bench.worker.loader._opener = Models(models)
        one = bench.connect()
        hung = [f"hung{number};c" for number in range(6)]
        for name in hung:
            bench.subscribe(one, name, camera=name[:5], url="hung")
        bench.subscribe(one, "fine;c", camera="fine")
        await loaded(bench, *hung, "fine;c")
        try:
            for _ in range(3):
                for name in hung:
                    bench.source(name[:5]).show()
                await asyncio.sleep(FRAME_SEC)
            assert models["hung"].seen
            for _ in range(10):
                before = member(bench, "fine;c").analysed
                while member(bench, "fine;c").analysed == before:
                    bench.source("fine").show()
                    await asyncio.sleep(FRAME_SEC)
            assert all(member(bench, name).analysed == 0 for name in hung)
        finally:
            go.set()

    play(scene, max_streams=9, pipeline={"threads": 3})


def test_a_camera_that_stalls_costs_the_others_nothing(tmp_path: Path):
    async def main() -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        with rtsp(tmp_path / "a") as stalling, rtsp(tmp_path / "b") as steady:
            bench = Bench([], target_fps=5, pipeline={"threads": 1}, data_dir=tmp_path)
            await bench.worker.start()
            try:
                one = bench.connect()
                for name, camera in (("stalls;c", stalling), ("steady;c", steady)):
                    wish = {"modelId": 1, "modelName": "M", "modelUrl": "http://m/m", "rtspUrl": camera.url()}
                    bench.say(one, "subscribe", subscriptionIdentifier=name, **wish)
                await until(lambda: all(member(bench, name).analysed for name in ("stalls;c", "steady;c")))
                stalling.pause()
                try:
                    await asyncio.sleep(0.5)  # what is on its way arrives
                    stopped_at = member(bench, "stalls;c").analysed
                    before = member(bench, "steady;c").analysed
                    await until(lambda: member(bench, "steady;c").analysed >= before + 10)
                    assert member(bench, "stalls;c").analysed == stopped_at
                finally:
                    stalling.resume()
            finally:
                await bench.worker.stop()

    asyncio.run(main())
