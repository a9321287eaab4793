"""What is wrong in what a client is given is told, without what is secret in it."""

import asyncio
from typing import Any

import pytest

from siwatsystem.client import (
    Client,
    NoImage,
    Unauthorized,
    Unreachable,
    images,
)
from siwatsystem.client.connection import connected
from siwatsystem.conformance.stand import Stand
from tests.client.scripted import NAME, asked, play, scripted
from tests.fake_worker import Running


def test_what_cannot_be_right_is_refused_before_it_is_sent(worker: Running, cameras: Stand):
    async def scene() -> None:
        async with Client(worker.url) as client:
            with pytest.raises(ValueError, match="rtspUrl"):
                await client.subscribe(NAME, model_url="x", model_name="x", model_id=1)
            with pytest.raises(ValueError, match="cropX1 < cropX2"):
                await client.subscribe(NAME, **asked(cameras, crop=(5, 5, 5, 5)))
            given = {"rtsp_url": None, "snapshot_url": "http://x/", "snapshot_interval": 0}
            with pytest.raises(ValueError, match=r"^snapshotInterval: .*1"):
                await client.subscribe(NAME, **asked(cameras, **given))
            with pytest.raises(ValueError, match=r"^modelId: "):
                await client.subscribe(NAME, **asked(cameras, model_id=1.5))
            with pytest.raises(ValueError, match="not subscribed"):
                await client.unsubscribe(NAME)
            wrong: list[Any] = [object(), float("nan"), [{"deep": float("inf")}], "x" * (2 << 20)]
            for value in wrong:
                with pytest.raises(ValueError, match=r"^data: "):
                    await client.patch_session("v", {"q": value})
            unnamed: Any = 1.5
            with pytest.raises(ValueError, match=r"^sessionId: "):
                await client.patch_session(unnamed, {})

    play(scene)


@pytest.mark.parametrize("url", ["ws://me:sesam@127.0.0.1:1/", "http://me:sesam@127.0.0.1/"])
def test_a_password_in_the_address_is_never_shown(url: str, caplog: pytest.LogCaptureFixture):
    async def scene() -> None:
        with pytest.raises((Unreachable, ValueError)) as entering:
            async with Client(url, connect_timeout=0.1):
                pass
        with pytest.raises((Unreachable, ValueError)) as connecting:
            await connected(url).__aenter__()
        for raised in (entering, connecting):
            assert "127.0.0.1" in str(raised.value)
            assert "sesam" not in str(raised.value)
        if url.startswith("ws"):
            with pytest.raises(Unreachable) as fetching:
                await Client(url).image(NAME)
            assert "sesam" not in str(fetching.value)

    caplog.set_level("DEBUG")
    play(scene)
    assert "sesam" not in caplog.text


def test_what_a_worker_says_is_logged_without_the_password_of_its_address(caplog: pytest.LogCaptureFixture):
    async def scene() -> None:
        async with scripted() as (url, script):
            address = url.replace("//", "//me:sesam@")
            async with Client(address) as client:
                feed = client.messages()
                await script.send("no json")
                await anext(feed)
                names = [task.get_name() for task in asyncio.all_tasks()]
                assert not [name for name in names if "sesam" in name]

    play(scene)
    assert "does not know" in caplog.text
    assert "sesam" not in caplog.text


def test_a_wrong_token_is_told_at_once():
    async def scene() -> None:
        async with scripted(token="right") as (url, _):
            for token in (None, "wrong"):
                with pytest.raises(Unauthorized):
                    await Client(url, token=token).__aenter__()
            async with Client(url, token="right") as client:
                await client.request_state()

    play(scene)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "ws://127.0.0.1:99999/", "ws://[::", "x", "", "ws://", None]
)
def test_what_is_no_address_is_told(url: Any):
    with pytest.raises(ValueError, match="ws://host:port/"):
        Client(url)


def test_a_path_that_may_be_what_is_refused_is_named():
    async def scene() -> None:
        async with scripted(token="right") as (url, _):
            with pytest.raises(Unauthorized, match=r"token is needed$"):
                await connected(url, token="wrong").__aenter__()
            with pytest.raises(Unauthorized, match=r"the path is wrong: .* at / alone, at /nope only"):
                await connected(f"{url}nope", token="wrong").__aenter__()

    play(scene)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"detail": "no frame of d;c yet"}', "404: no frame of d;c yet"),
        (b"<h1>none</h1>", "404: <h1>none</h1>"),
        (b"[]", "404: []"),
        (b'{"detail": "' + b"x" * 5000 + b'"}', "404: " + "x" * 300),
    ],
)
def test_why_there_is_no_picture_is_said_in_words(body: bytes, said: str):
    with pytest.raises(NoImage) as missing:
        images.picture(404, "application/json", body)
    assert str(missing.value) == said


@pytest.mark.parametrize("token", ["sesam\n", "ses\r\nam", "sesam\x00"])
def test_a_token_with_a_line_break_is_told_at_once_and_never_shown(token: str):
    async def scene() -> None:
        with pytest.raises(ValueError, match="line break") as connecting:
            await connected("ws://127.0.0.1:1/", token=token).__aenter__()
        assert "ses" not in str(connecting.value)

    with pytest.raises(ValueError, match="line break") as made:
        Client("ws://127.0.0.1:1/", token=token)
    assert "ses" not in str(made.value)
    play(scene)


def test_where_nothing_answers_as_a_worker_it_is_said_what_to_look_at():
    async def scene() -> None:
        async def chat(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
            writer.close()

        other = await asyncio.start_server(chat, "127.0.0.1", 0)
        port = other.sockets[0].getsockname()[1]
        async with other:
            with pytest.raises(Unreachable, match=r"no WebSocket .*address and port\?"):
                await connected(f"ws://127.0.0.1:{port}/").__aenter__()
        with pytest.raises(Unreachable, match="nothing listens there"):
            await connected(f"ws://127.0.0.1:{port}/").__aenter__()

    play(scene)
