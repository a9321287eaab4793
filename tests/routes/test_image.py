"""The newest frame as JPEG: the short way and the route answer alike, once per frame, to whom it may."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from siwatsystem.app import create_app
from siwatsystem.config import Settings
from siwatsystem.frames import Crop, Frame, Image, encode_jpeg
from siwatsystem.routes.image import PlainImages

CAMERA = "display;camera"
URL = f"/camera/{CAMERA}/image"
CROP: Crop = (10, 20, 50, 60)


def picture() -> Any:
    return np.random.default_rng(7).integers(0, 255, (90, 160, 3), np.uint8)


def frame(image: Any = None, sequence: int = 1) -> Frame:
    shown = picture() if image is None else image
    return Frame(shown, captured_at=1_700_000_000.5, monotonic=time.monotonic(), sequence=sequence)


class Stage:
    """The application with one subscription whose newest frame a test sets."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.app = create_app(Settings.model_validate({"data_dir": folder, **settings}))
        self.source = SimpleNamespace(latest=frame())
        self.loop = SimpleNamespace(source=self.source, crop=None, members={})
        self.client = TestClient(self.app)

    def __enter__(self) -> "Stage":
        self.client.__enter__()
        loops = {CAMERA: self.loop}
        self.app.state.worker.loop_of = loops.get
        return self

    def __exit__(self, *_: object) -> None:
        self.client.__exit__()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as made:
        yield made


def encoded() -> float:
    return REGISTRY.get_sample_value("siwat_jpeg_encoded_total") or 0.0


@pytest.mark.parametrize("url", [URL, URL.replace(";", "%3B"), f"{URL}?full=0", f"{URL}?overlay=0"])
def test_the_newest_frame_whole(stage: Stage, url: str):
    answer = stage.client.get(url)
    assert answer.status_code == 200
    assert answer.content == encode_jpeg(stage.source.latest.image)
    assert {name: answer.headers[name] for name in ("content-type", "cache-control", "x-captured-at")} == {
        "content-type": "image/jpeg",
        "cache-control": "no-store",
        "x-captured-at": "2023-11-14T22:13:20.500Z",
    }
    assert answer.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize("query", ["", "?full=1"])
def test_an_identifier_may_hold_slashes(stage: Stage, query: str):
    stage.app.state.worker.loop_of = {"d;hall/1": stage.loop}.get
    assert stage.client.get(f"/camera/d;hall%2F1/image{query}").status_code == 200
    assert stage.client.get(f"/camera/d;hall%2F2/image{query}").json()["detail"] == "no subscription d;hall/2"


def test_a_crop_and_the_frame_beyond_it(stage: Stage):
    stage.loop.crop = CROP
    whole, part = stage.source.latest.image, stage.source.latest.image[20:60, 10:50]
    assert stage.client.get(URL).content == encode_jpeg(part)
    assert stage.client.get(f"{URL}?full=1").content == encode_jpeg(whole)


def test_a_frame_is_encoded_once_however_many_ask(stage: Stage):
    before = encoded()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: stage.client.get(URL).content, range(32)))
    assert encoded() - before == 1
    assert set(answers) == {encode_jpeg(stage.source.latest.image)}
    stage.source.latest = frame(255 - picture(), 2)
    assert stage.client.get(URL).content not in answers
    assert encoded() - before == 2


def test_the_route_is_asked_for_options_only(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    """Without this, the short way could be gone and nobody would notice."""
    passed: list[bytes] = []

    class Noting(PlainImages):
        def __init__(self, app: Any) -> None:
            async def noting(scope: Scope, receive: Receive, send: Send) -> None:
                if scope["type"] == "http":
                    passed.append(scope["query_string"])
                await app(scope, receive, send)

            super().__init__(noting)

    stage.app.user_middleware = [
        type(one)(Noting) if one.cls is PlainImages else one for one in stage.app.user_middleware
    ]
    stage.app.middleware_stack = stage.app.build_middleware_stack()
    assert stage.client.get(URL).status_code == 200
    assert passed == []
    assert stage.client.get(f"{URL}?full=1").status_code == 200
    assert passed == [b"full=1"]


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("GET", "/camera/no;such/image", 404),
        ("GET", "/camera//image", 404),
        ("GET", "/camera/image", 404),
        ("GET", f"/camera/a/{CAMERA}/image", 404),
        ("GET", f"{URL}/", 404),
        ("GET", f"{URL}?full=perhaps", 422),
        ("POST", URL, 405),
    ],
)
def test_what_is_wrong_is_told_by_the_route(stage: Stage, method: str, url: str, status: int):
    answer = stage.client.request(method, url, follow_redirects=False)
    assert answer.status_code in (status, 307)
    if answer.status_code != 307:
        assert "detail" in answer.json()


def test_no_frame_yet_and_one_that_cannot_be_encoded(stage: Stage):
    stage.source.latest = frame(np.zeros((4, 4, 3), np.uint16))
    answer = stage.client.get(URL)
    assert (answer.status_code, "cannot be encoded" in answer.json()["detail"]) == (500, True)

    def broken() -> Image:
        raise RuntimeError("swscale has had enough")

    stage.source.latest = Frame(broken, captured_at=0.0, monotonic=0.0)
    answer = stage.client.get(URL)
    assert (answer.status_code, "RuntimeError" in answer.json()["detail"]) == (500, True)
    stage.source.latest = None
    answer = stage.client.get(URL)
    assert (answer.status_code, answer.json()["detail"]) == (404, f"no frame of {CAMERA} yet")


def test_the_short_way_needs_the_token_too(tmp_path: Path):
    with Stage(tmp_path, control_token="command", view_token="look") as stage:
        assert stage.client.get(URL).status_code == 401
        assert stage.client.get(URL, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert stage.client.get(URL, headers={"Authorization": "Bearer look"}).status_code == 200


def test_it_stays_described(stage: Stage):
    described = stage.client.get("/openapi.json").json()["paths"]["/camera/{camera_id}/image"]["get"]
    assert {one["name"] for one in described["parameters"]} == {"camera_id", "overlay", "full"}
    assert {"200", "404", "422", "500"} <= set(described["responses"])


def test_a_request_that_is_ended_does_not_end_the_encoding_for_others():
    begun, go_on = threading.Event(), threading.Event()

    def convert() -> Any:
        begun.set()
        assert go_on.wait(10)
        return picture()

    shown = Frame(convert, captured_at=1.0, monotonic=time.monotonic())
    loop = SimpleNamespace(source=SimpleNamespace(latest=shown), crop=None)
    worker = SimpleNamespace(loop_of={CAMERA: loop}.get)
    scope = {"type": "http", "method": "GET", "query_string": b"", "root_path": "", "path": URL}
    scope["app"] = SimpleNamespace(state=SimpleNamespace(worker=worker))

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the route was asked")

    async def answer() -> bytes:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await PlainImages(never)(scope, None, send)  # type: ignore[arg-type]
        return sent[1]["body"]

    async def both() -> bytes:
        first, second = asyncio.create_task(answer()), asyncio.create_task(answer())
        assert await asyncio.to_thread(begun.wait, 10)
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        go_on.set()
        return await second

    assert asyncio.run(both()) == encode_jpeg(picture())
