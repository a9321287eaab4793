"""A picture through a pipeline without its actions: what it says, and what hostile ones are answered."""

import asyncio
import io
import struct
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient

from siwatsystem.app import create_app
from siwatsystem.config import Settings
from siwatsystem.detections import Detection
from siwatsystem.errors import ModelRefused
from siwatsystem.frames import Image, encode_jpeg, encode_png
from siwatsystem.loading import Loaded, PipelineKey
from siwatsystem.overview import trial
from siwatsystem.overview.trial import MOST_BYTES, Busy, NoPicture, Trials, picture_of, tried
from siwatsystem.testing import FakeModel
from tests.scripted import CAR, FRONTAL, PUBLISH, SAVE, Bench, branch, detector, root, said

PICTURE = np.random.default_rng(1).integers(0, 255, (100, 200, 3), np.uint8)
JPEG = encode_jpeg(PICTURE)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with ThreadPoolExecutor(2) as threads:
        yield Bench(threads)


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is that large, and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def test_what_a_pipeline_says_of_a_picture(bench: Bench):
    node = root(branches=[branch("carBrand", actions=[PUBLISH])], actions=[SAVE])
    pipeline = bench.pipeline(node, {"root": detector(CAR, FRONTAL), "carBrand": said("Aster")})
    found = tried(pipeline, JPEG, bench.threads)
    assert found["size"] == [200, 100]
    (event,) = found["events"]
    assert (event["class"], event["carBrand"]) == ("Car", "Aster")
    assert [(box["class"], box["event"], box["words"]) for box in found["boxes"]] == [
        ("Car", True, ("Aster",)),
        ("Frontal", False, ()),
    ]
    assert found["tree"]["times"]["runs"] == 1
    assert found["tree"]["branches"][0]["times"]["newest"]["result"] == "Aster 0.95"


def test_no_action_is_carried_out(bench: Bench):
    node = root(actions=[SAVE, PUBLISH])
    tried(bench.pipeline(node, {"root": detector(CAR, FRONTAL)}), JPEG, bench.threads)
    assert bench.outbox.events == []


def test_a_pipeline_that_tracks_sees_it_often_and_its_models_once(bench: Bench):
    tracking = {"enabled": True, "stabilityThreshold": 2}
    model, brand = detector(CAR), said("Aster")
    node = root(tracking=tracking, triggerClasses=["Car"], branches=[branch("carBrand")])
    found = tried(bench.pipeline(node, {"root": model, "carBrand": brand}), JPEG, bench.threads)
    assert found["shown"] > 3
    assert len(model.seen) == len(brand.seen) == 1
    assert [(event["class"], event["trackId"], event["carBrand"]) for event in found["events"]] == [
        ("Car", 1, "Aster")
    ]
    assert found["tree"]["times"]["runs"] == 1
    assert found["tree"]["branches"][0]["times"]["runs"] == 1


def test_a_model_that_fails_is_told(bench: Bench):
    pipeline = bench.pipeline(root(), {"root": FakeModel(RuntimeError("no kernel"), ["Car"])})
    with pytest.raises(RuntimeError, match="a model fails on this picture: no kernel"):
        tried(pipeline, JPEG, bench.threads)


@pytest.mark.parametrize("kind", trial.FORMATS)
def test_kinds_of_pictures(kind: str):
    target = io.BytesIO()
    Pillow.fromarray(PICTURE[:, :, ::-1]).save(target, kind, quality=100)
    found = picture_of(target.getvalue())
    assert found.shape == (100, 200, 3)
    assert np.abs(found.astype(int) - PICTURE).mean() < 60


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no picture was sent"),
        (b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "this is no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "this is no picture"),
        (b"%PDF-1.7", "this is no picture"),
        (b"\xff\xd8\xff" + bytes(200), "this is no picture"),
        (JPEG[:40], "this is no picture"),
        (png_of(9_000, 9_000), "at most 40 million"),
        (png_of(2**31 - 1, 2**31 - 1), "picture"),
        (png_of(0, 10), "picture"),
        (encode_png(PICTURE)[:60], "is damaged"),
    ],
)
def test_what_is_no_picture(data: bytes, why: str):
    with pytest.raises(NoPicture, match=why):
        picture_of(data)


def test_what_is_damaged_never_raises_anything_else():
    random = np.random.default_rng(5)
    for whole in (JPEG, encode_png(PICTURE)):
        for _ in range(100):
            data = bytearray(whole)
            for place in random.integers(0, len(data), 8):
                data[place] = random.integers(0, 256)
            try:
                assert picture_of(bytes(data)).ndim == 3
            except NoPicture:
                continue


def test_one_at_a_time_and_no_longer_than_it_may(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    hung, let_go = threading.Event(), threading.Event()

    def hang(image: Image) -> tuple[Detection, ...]:
        hung.set()
        let_go.wait(30)
        return (CAR,)

    monkeypatch.setattr(trial, "LIMIT_SEC", 0.3)
    slow = bench.pipeline(root(), {"root": FakeModel(hang, ["Car", "Frontal"])})
    quick = bench.pipeline(root(), {"root": detector(CAR)})

    async def scene() -> None:
        trials = Trials()
        with trials.turn():
            with pytest.raises(Busy), trials.turn():
                raise AssertionError
            with pytest.raises(TimeoutError):
                await trials.run(slow, JPEG, bench.threads)
        assert hung.is_set()
        assert trials.busy
        with pytest.raises(Busy), trials.turn():
            raise AssertionError
        let_go.set()
        async with asyncio.timeout(10):
            while trials.busy:
                await asyncio.sleep(0.01)
        monkeypatch.setattr(trial, "LIMIT_SEC", 30)
        with trials.turn():
            assert len((await trials.run(quick, JPEG, bench.threads))["events"]) == 1
        with pytest.raises(NoPicture), trials.turn():
            await trials.run(quick, b"no", bench.threads)
        async with asyncio.timeout(10):
            while trials.busy:
                await asyncio.sleep(0.01)

    asyncio.run(scene())


class Door:
    """The application with one loaded archive."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        self.app = create_app(Settings.model_validate({"data_dir": folder, "logs": {"file": None}}))
        self.loaded = Loaded(PipelineKey.of(1, "http://m/a?signature=hunter2"))
        self.loaded.pipeline = bench.pipeline(root(), {"root": detector(CAR)})
        self.asked: list[PipelineKey] = []
        self.released: list[Loaded] = []
        self.client = TestClient(self.app)

    def __enter__(self) -> "Door":
        self.client.__enter__()
        worker = self.app.state.worker
        worker.loop_of = {"d;c": SimpleNamespace(loaded=self.loaded)}.get
        worker.loader.acquire = self._acquire
        worker.loader.release = self.released.append
        return self

    def __exit__(self, *_: object) -> None:
        del self.app.state.worker.loader.acquire, self.app.state.worker.loader.release
        self.client.__exit__()

    def _acquire(self, key: PipelineKey) -> Loaded:
        self.asked.append(key)
        return self.loaded

    def post(self, data: Any = JPEG, **query: str) -> tuple[int, Any]:
        answer = self.client.post("/dashboard/try", content=data, params=query)
        return answer.status_code, answer.json()


@pytest.fixture
def door(tmp_path: Path, bench: Bench) -> Iterator[Door]:
    with Door(tmp_path, bench) as made:
        yield made


def test_the_archive_of_a_subscription(door: Door):
    status, found = door.post(camera="d;c")
    assert (status, found["events"][0]["class"]) == (200, "Car")
    assert door.asked == [door.loaded.key]
    assert door.released == [door.loaded]  # it was held as long as it was used


def test_the_archive_at_an_address(door: Door):
    assert door.post(model_url="http://m/b.mpta")[0] == 200
    assert (door.asked[0].model_id, door.asked[0].url) == ("dashboard-trial", "http://m/b.mpta")


def test_refusals_of_the_route(door: Door, monkeypatch: pytest.MonkeyPatch):
    assert door.post()[0] == 404
    assert door.post(camera="d;unknown")[0] == 404
    assert door.post(model_url=f"http://m/{'a' * 4096}")[0] == 422
    status, told = door.post(b"rubbish", camera="d;c")
    assert (status, told["detail"][:19]) == (422, "this is no picture:")
    assert door.post(bytes(MOST_BYTES + 1), camera="d;c")[0] == 413
    door.loaded.pipeline, door.loaded.error = None, ModelRefused("http://user:hunter2@m/a holds a pickle")
    status, told = door.post(model_url="http://m/a.mpta")
    assert status == 422
    assert "hunter2" not in told["detail"]
    assert len(door.released) == len(door.asked)
    monkeypatch.setattr(Trials, "busy", True)
    assert door.post(camera="d;c")[0] == 409


def test_an_archive_that_does_not_come(door: Door, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("siwatsystem.routes.trial.LOAD_SEC", 0.2)
    door.loaded.pipeline = None
    assert door.post(camera="d;c") == (504, {"detail": "the archive was not loaded within 0.2 s"})


def test_a_model_that_fails_in_a_way_of_its_own(door: Door, bench: Bench):
    def fail(image: Image) -> tuple[Detection, ...]:
        raise IndexError("out of bounds")

    door.loaded.pipeline = bench.pipeline(root(), {"root": FakeModel(fail, ["Car", "Frontal"])})
    status, told = door.post(camera="d;c")
    assert status == 422
    assert told["detail"].startswith("a model fails on this picture: IndexError")
