"""`siwat redis` against a real Redis."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest
import redis
from typer.testing import CliRunner, Result

from siwatsystem.__main__ import app
from tests.servers import Server, redis_server, servers, until

__all__ = ["redis_server", "servers"]

PICTURE = cv2.imencode(".jpg", np.full((48, 64, 3), (0, 0, 220), np.uint8))[1].tobytes()


@pytest.fixture
def client(redis_server: Server) -> Iterator[redis.Redis]:
    settings = redis_server.config
    with redis.Redis(host=settings["host"], port=settings["port"], password=settings["password"]) as client:
        client.flushall()
        yield client


@pytest.fixture
def url(redis_server: Server) -> str:
    settings = redis_server.config
    return f"redis://:{quote(settings['password'], safe='')}@{settings['host']}:{settings['port']}/0"


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["redis", *arguments], env={"REDIS_URL": url})


def test_list_tells_kind_size_and_life(client: redis.Redis, url: str) -> None:
    client.set("inference:a", PICTURE, px=600_000)
    client.set("inference:b", "no picture")
    client.rpush("inference:c", "x")
    client.set("other", PICTURE)
    told = json.loads(run(url, "list", "--json").stdout)
    assert told["found"] == 3
    first, second, third = told["images"]
    assert (first["key"], first["kind"], first["bytes"]) == ("inference:a", "jpeg", len(PICTURE))
    assert 500 < first["expires_sec"] <= 600
    assert (second["kind"], second["expires_sec"]) == (None, None)
    assert third["kind"] is None
    plain = run(url, "list", "--limit", "1", "--pattern", "*")
    assert "4 keys match *, 3 more are not shown" in plain.stdout


def test_save_writes_what_is_stored(
    client: redis.Redis, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.set("inference:a", PICTURE)
    monkeypatch.chdir(tmp_path)
    assert run(url, "save", "inference:a").exit_code == 0
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("redis_image_")
    assert file.suffix == ".jpg"
    assert file.read_bytes() == PICTURE
    assert run(url, "save", "-o", "newest.jpg").exit_code == 0  # the newest, where no key is named
    assert (tmp_path / "newest.jpg").read_bytes() == PICTURE
    unwritable = run(url, "save", "inference:a", "-o", str(tmp_path / "no" / "x.jpg"))
    assert unwritable.exit_code == 1
    assert "No such file" in unwritable.stderr


def test_show_says_what_there_is_without_a_terminal(client: redis.Redis, url: str) -> None:
    client.set("inference:a", PICTURE)
    told = run(url, "show", "inference:a")
    assert "jpeg, 64 × 48" in told.stdout
    assert "no terminal" in told.stdout
    assert json.loads(run(url, "show", "--json").stdout)["width"] == 64


def test_the_newest_is_what_expires_last_whoever_looked_at_it(
    client: redis.Redis, url: str, tmp_path: Path
) -> None:
    client.set("inference:z", PICTURE, ex=300)
    client.set("inference:a", PICTURE[:-2] + b"\xff\xd9", ex=500)
    client.set("inference:m", PICTURE, ex=400)
    run(url, "list")
    client.get("inference:z")
    told = run(url, "save", "-o", str(tmp_path / "x.jpg"))
    assert told.stdout.startswith("inference:a: ")


def test_an_empty_value_is_listed_as_well(client: redis.Redis, url: str) -> None:
    client.set("inference:empty", "")
    told = json.loads(run(url, "list", "--json").stdout)
    assert (told["found"], [image["bytes"] for image in told["images"]]) == (1, [0])
    assert "not shown" not in run(url, "list").stdout


def bomb() -> bytes:
    """A picture of 400 million pixels in few bytes."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    chunk = (
        struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    return (
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "nothing"), "there is no nothing"),
        (("save", "nothing"), "there is no nothing"),
        (("show", "inference:text"), "holds no image"),
        (("show", "inference:list"), "inference:list is a list, no image"),
        (("show", "inference:cut"), "cannot be decoded"),
        (("show", "inference:bomb"), "inference:bomb: "),
        (("save", "--pattern", "x*"), "no key matches x*"),
    ],
)
def test_what_is_not_there_is_told(
    client: redis.Redis, url: str, arguments: tuple[str, ...], words: str
) -> None:
    client.set("inference:text", "no picture")
    client.rpush("inference:list", "x")
    client.set("inference:cut", PICTURE[:300])
    client.set("inference:bomb", bomb())
    told = run(url, *arguments)
    assert told.exit_code == 1
    assert words in told.stderr


def test_a_picture_is_drawn_on_a_terminal(client: redis.Redis, url: str) -> None:
    client.set("inference:a", PICTURE)
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 640, 640))
    command = [sys.executable, "-m", "siwatsystem", "redis", "show", "inference:a"]
    env = {
        **os.environ,
        "REDIS_URL": url,
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "COLUMNS": "80",
    }
    with subprocess.Popen(command, stdin=child, stdout=child, stderr=subprocess.PIPE, env=env) as process:
        os.close(child)
        drawn = b""
        try:
            while block := os.read(parent, 65536):
                drawn += block
        except OSError:
            pass  # how a terminal ends
        assert process.stderr is not None
        assert process.wait(60) == 0, process.stderr.read().decode()
    os.close(parent)
    # Half blocks in the picture's red, as this terminal answers no question about graphics.
    assert "▀".encode() in drawn or "▄".encode() in drawn
    assert drawn.count(b"2;2") > 10


def test_watch_prints_what_is_published(client: redis.Redis, url: str) -> None:
    client.set("inference:a", PICTURE)
    results: list[Result] = []
    thread = threading.Thread(
        target=lambda: results.append(run(url, "watch", "--channel", "pump-*", "--count", "2", "--json"))
    )
    thread.start()
    until(lambda: client.pubsub_numpat() == 1)
    client.publish("pump-1", json.dumps({"event": "frontal_detected", "image_key": "inference:a"}))
    client.publish("pump-2", b"\x1b[2J no JSON")
    thread.join(30)
    first, second = (json.loads(line) for line in results[0].stdout.splitlines())
    assert first["channel"] == "pump-1"
    assert first["message"]["image_key"] == "inference:a"
    assert second["message"] == "\x1b[2J no JSON"


def test_what_strangers_published_moves_no_cursor(client: redis.Redis, url: str) -> None:
    client.set("inference:\x1b[2J", PICTURE)
    assert "\x1b" not in run(url, "list").stdout


def test_a_server_that_is_away_or_refuses_is_told_without_its_password(
    client: redis.Redis, url: str, redis_server: Server
) -> None:
    away = run("redis://:geheim@127.0.0.1:1/0", "list")
    assert away.exit_code == 1
    refused = run(f"redis://:geheim@127.0.0.1:{redis_server.config['port']}/0", "list")
    assert refused.exit_code == 1
    assert "refuses" in refused.stderr
    for told in (away, refused):
        assert "geheim" not in told.output
    assert run("http://127.0.0.1", "list").exit_code == 2
