"""`siwat redis …`: the images that pipelines keep in Redis, and what they publish there."""

import json
import os
import time
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from siwatsystem.commands import console
from siwatsystem.commands.redis_pictures import show_picture
from siwatsystem.logs import redact

if TYPE_CHECKING:
    from redis import Redis

CHANNEL = "car_detections"
PATTERN = "inference:*"
_KINDS = ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"))
_MOST_PIXELS = 40_000_000
_LONG = 2**40
_GONE = -2
"""What PTTL answers for a key that is not there (any more)."""
_SEEN = 1000
"""Keys that are looked at between two questions to the server."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="The images that pipelines keep in Redis, and what they publish there. The server is named by "
    "`--url`, or by the variable `REDIS_URL`, which keeps its password out of the list of processes.",
)

Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="REDIS_URL",
        metavar="URL",
        help="`redis://[user:password@]host[:port][/db]`, `rediss://…`",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HERE = "redis://127.0.0.1:6379/0"


@dataclass(frozen=True, slots=True)
class StoredImage:
    """What is told of one key."""

    key: str
    kind: str | None
    """`jpeg`, `png`; None for something else."""
    bytes: int
    expires_sec: float | None
    """Until it goes by itself; None: never."""


@app.command("list")
def show_all(
    pattern: Annotated[str, typer.Option(help="Keys, as Redis' SCAN matches them.")] = PATTERN,
    limit: Annotated[int, typer.Option(min=0, help="Show at most as many; 0: all.")] = 50,
    as_json: AsJson = False,
    url: Url = HERE,
) -> None:
    """List the stored images: key, kind, size, and when they expire.

    Examples: `siwat redis list`, `siwat redis list --pattern 'inference:display-001*' --json`

    Exit status 0: listed, also where there is none; 1: the server does not answer; 2: wrong usage.
    """
    with _connected(url) as server:
        keys = sorted(set(server.scan_iter(match=pattern, count=_SEEN)))
        images = [image for key in keys[: limit or None] if (image := _described(server, key)) is not None]
    if as_json:
        told = {"pattern": pattern, "found": len(keys), "images": [asdict(image) for image in images]}
        typer.echo(json.dumps(told, ensure_ascii=False, indent=1))
        return
    for image in images:
        life = "for ever" if image.expires_sec is None else f"{image.expires_sec:.0f} s left"
        typer.echo(f"{_plain(image.key)}\t{image.kind or 'no image'}\t{image.bytes} bytes\t{life}")
    more = f", {len(keys) - len(images)} more are not shown" if len(keys) > len(images) else ""
    typer.echo(f"{len(keys)} keys match {pattern}{more}")


@app.command("show")
def show_one(
    key: Annotated[
        str,
        typer.Argument(help="Its key in `list`; without one the newest of `--pattern`: which expires last."),
    ] = "",
    pattern: Annotated[str, typer.Option(help="Where KEY is left away.")] = PATTERN,
    as_json: AsJson = False,
    url: Url = HERE,
) -> None:
    """Show one image in the terminal, and what there is to say of it.

    Exit status 0: shown; 1: there is no such key, it is no image, or the server does not answer.
    """
    with _connected(url) as server:
        name, data = _fetched(server, key, pattern)
        image = _described(server, name)
    if image is None or image.kind is None:
        console.leave(f"{_shown(name)} holds no image", 1)
    try:
        width, height = _size(data)
    except ValueError as error:
        console.leave(f"{_shown(name)}: {error}", 1)
    if as_json:
        typer.echo(
            json.dumps({**asdict(image), "width": width, "height": height}, ensure_ascii=False, indent=1)
        )
        return
    typer.echo(f"{_plain(image.key)}: {image.kind}, {width} × {height}, {image.bytes} bytes")
    try:
        drawn = show_picture(data)
    except ValueError as error:
        console.leave(str(error), 1)
    if not drawn:
        typer.echo("no terminal to draw on; `siwat redis save` writes it to a file")


@app.command("save")
def save(
    key: Annotated[
        str,
        typer.Argument(help="Its key in `list`; without one the newest of `--pattern`: which expires last."),
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Else `redis_image_<time>.jpg` (or .png) here.")
    ] = None,
    pattern: Annotated[str, typer.Option(help="Where KEY is left away.")] = PATTERN,
    as_json: AsJson = False,
    url: Url = HERE,
) -> None:
    """Write one image to a file, as it is stored.

    Exit status 0: written; 1: there is no such key, or the server does not answer.
    """
    with _connected(url) as server:
        name, data = _fetched(server, key, pattern)
    suffix = {"jpeg": ".jpg", "png": ".png", None: ".bin"}[_kind(data[:8])]
    path = output or Path(f"redis_image_{datetime.now():%Y-%m-%dT%H-%M-%S}{suffix}")
    with console.told():
        path.write_bytes(data)
    if as_json:
        told = {"key": name.decode(errors="replace"), "bytes": len(data), "file": str(path)}
        typer.echo(json.dumps(told, ensure_ascii=False))
    else:
        typer.echo(f"{_shown(name)}: {len(data)} bytes in {path}")


@app.command("watch")
def watch(
    channel: Annotated[list[str] | None, typer.Option(help="As often as wanted; `*` in it matches.")] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw the image that a message names.")
    ] = True,
    count: Annotated[int, typer.Option(min=0, help="End after so many messages; 0: never.")] = 0,
    seconds: Annotated[float, typer.Option(min=0, help="End after so many seconds; 0: never.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
    url: Url = HERE,
) -> None:
    """Print what is published, as it comes, with the images (`image_key`) that it names. Ctrl-C ends it.

    Example: `siwat redis watch --channel car_detections --channel 'pump-*'`

    Exit status 0: ended by Ctrl-C, `--count` or `--seconds`; 1: the server does not answer (any more).
    """
    channels = channel or [CHANNEL]
    with _connected(url) as server:
        typer.echo(f"listening to {', '.join(channels)}", err=True)
        for told in _messages(server, channels, seconds):
            _print_message(server, told, pictures=pictures, as_json=as_json)
            count -= 1
            if count == 0:
                return


def _print_message(server: "Redis", told: dict[str, Any], *, pictures: bool, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    message = told["message"]
    words = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    typer.echo(f"{told['received']}  {_plain(told['channel'])}  {_plain(words)}")
    key = message.get("image_key") if isinstance(message, dict) else None  # pyright: ignore[reportUnknownVariableType]
    if pictures and isinstance(key, str):
        data = _value(server, key.encode())
        if data is not None and _kind(data[:8]) is not None:
            try:
                show_picture(data)
            except ValueError as error:
                typer.echo(f"{_plain(key)}: {error}", err=True)


def _messages(server: "Redis", channels: list[str], seconds: float) -> Iterator[dict[str, Any]]:
    ends_at = time.monotonic() + seconds if seconds else None
    with server.pubsub(ignore_subscribe_messages=True) as listener:
        listener.psubscribe(*channels)
        while ends_at is None or time.monotonic() < ends_at:
            try:
                got: dict[str, Any] | None = listener.get_message(timeout=0.5)
            except KeyboardInterrupt:
                return
            if got is None:
                continue
            text = got["data"].decode(errors="replace")
            try:
                message = json.loads(text)
            except ValueError:
                message = text
            received = datetime.now().isoformat(timespec="milliseconds")
            yield {
                "received": received,
                "channel": got["channel"].decode(errors="replace"),
                "message": message,
            }


@contextmanager
def _connected(url: str) -> Generator["Redis"]:
    """A connection; whatever the server does ends the command with one line and status 1."""
    import redis

    if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
        console.leave("--url: redis://[user:password@]host[:port][/db]", 2)
    try:
        server = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=3)
    except ValueError as error:
        console.leave(f"--url: {redact(str(error))}", 2)
    try:
        server.ping()
        yield server
    except redis.AuthenticationError:
        console.leave(f"{redact(url)}: the server refuses user or password", 1)
    except (redis.RedisError, OSError) as error:
        console.leave(f"{redact(url)}: {redact(str(error))}", 1)
    finally:
        server.close()


def _fetched(server: "Redis", key: str, pattern: str) -> tuple[bytes, bytes]:
    """The key and its value. Ends the command where there is none."""
    # As the shell gave it: keys need not be UTF-8.
    name = os.fsencode(key) if key else _newest(server, pattern)
    if name is None:
        console.leave(f"no key matches {pattern}", 1)
    data = _value(server, name)
    if data is None:
        kind = server.type(name).decode()  # pyright: ignore
        gone = f"there is no {_shown(name)}" if kind == "none" else f"{_shown(name)} is a {kind}, no image"
        console.leave(gone, 1)
    return name, data


def _newest(server: "Redis", pattern: str) -> bytes | None:
    """The key that was written last, as far as Redis can tell.

    It keeps no such time. Images that expire after the same time expire in the order in which they came;
    of those that never do the one that was used last is taken, and looking at them here is a use of them.
    """
    keys = [(int(server.pttl(key)), key) for key in server.scan_iter(match=pattern, count=_SEEN)]  # pyright: ignore
    life, newest = max(keys, default=(_GONE, None))
    if newest is None or life >= 0:
        return newest
    idle: list[tuple[int, bytes]] = []
    for _, key in keys:
        seconds: Any = server.object("idletime", key)
        idle.append((_LONG if seconds is None else seconds, key))
    return min(idle)[1]


def _value(server: "Redis", key: bytes) -> bytes | None:
    return server.get(key) if server.type(key) == b"string" else None  # pyright: ignore[reportReturnType]


def _described(server: "Redis", key: bytes) -> StoredImage | None:
    """What is told of a key; None where it has gone meanwhile."""
    name = key.decode(errors="replace")
    if server.type(key) != b"string":
        return StoredImage(name, None, 0, None) if server.exists(key) else None
    size, life, head = server.strlen(key), server.pttl(key), server.getrange(key, 0, 7)
    if life == _GONE:
        return None
    return StoredImage(name, _kind(head), size, life / 1000 if life >= 0 else None)  # pyright: ignore


def _kind(head: bytes) -> str | None:
    return next((kind for start, kind in _KINDS if head.startswith(start)), None)


def _size(data: bytes) -> tuple[int, int]:
    """Width and height. Raises ValueError for what cannot be decoded, or would take too much memory."""
    from io import BytesIO

    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(BytesIO(data)) as picture:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            size = picture.size
            if size[0] * size[1] > _MOST_PIXELS:
                raise ValueError(f"{size[0]} × {size[1]} pixels are more than are decoded here")
            picture.load()
            return size
    except (OSError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"it cannot be decoded: {error}") from None


def _shown(key: bytes) -> str:
    return _plain(key.decode(errors="replace"))


def _plain(text: str) -> str:
    """What strangers wrote, without characters that move a terminal's cursor."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
