"""`siwat camera serve`: a webcam, a file or a test pattern as a camera on the network."""

import json
import logging
import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from siwatsystem.commands import console

if TYPE_CHECKING:
    from siwatsystem.cameras.encoding import Encoder
    from siwatsystem.cameras.film import Film
    from siwatsystem.cameras.rtsp import GstServer, Publisher

_RTSP_PORT = 8554
_LOOK_SEC = 0.5


def serve(
    source: Annotated[
        str, typer.Option(help="`pattern`, the index of a webcam (`siwat camera list`), or a video file.")
    ] = "0",
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0: for other machines too.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of `/snapshot`; 0: a free one.")] = 8080,
    rtsp_port: Annotated[int, typer.Option(min=0, max=65535, help="Of RTSP; 0: a free one.")] = _RTSP_PORT,
    rtsp: Annotated[bool, typer.Option("--rtsp/--no-rtsp", help="Whether to offer RTSP as well.")] = True,
    publish: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send RTSP to a server that takes streams, such as MediaMTX."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="What to enter as one line of JSON, once all of it is there.")
    ] = False,
) -> None:
    """Play a camera on the network: `/snapshot`, `/snapshot.jpg`, `/status`, and RTSP at `/stream`.

    Prints what to enter in a backend. RTSP needs GStreamer's server on Linux; elsewhere start MediaMTX and
    say `--publish rtsp://127.0.0.1:8554/stream`. Nobody is asked for a password: serve to networks that you
    trust.

    Examples: `siwat camera serve --source 0`, `siwat camera serve --source clip.mp4 --host 0.0.0.0`

    Exit status 0: ended by Ctrl-C or SIGTERM; 1: no picture comes, or a port is taken; 2: wrong usage.
    """
    from siwatsystem.cameras.film import film_of
    from siwatsystem.cameras.snapshots import SnapshotServer

    ended = threading.Event()
    # What went wrong is told once, by what it is raised as.
    logging.getLogger("siwatsystem.streams").addHandler(logging.NullHandler())
    logging.getLogger("siwatsystem.streams").propagate = False
    with console.told(), _signalled(ended):
        film = film_of(source)
        try:
            with SnapshotServer(film, host, port) as snapshots:
                offered = _begin_rtsp(film, host, rtsp_port, publish) if rtsp or publish else None
                enter = _http(host, snapshots.port) | ({"rtspUrl": offered[2]} if offered is not None else {})
                typer.echo(json.dumps(enter) if as_json else _table(enter))
                failure = _until(ended, offered[0] if offered else None)
                if offered is not None:
                    for one in offered[:2]:
                        one.close()
                if failure is not None:
                    console.leave(f"RTSP has ended: {failure}", 1)
        finally:
            film.close()


def _until(ended: threading.Event, encoder: "Encoder | None") -> str | None:
    """Wait to be told to end, or for the failure that is returned."""
    while not ended.wait(_LOOK_SEC):
        if encoder is not None and encoder.failure is not None:
            return encoder.failure
    return None


def _begin_rtsp(
    film: "Film", host: str, port: int, publish: str | None
) -> "tuple[Encoder, GstServer | Publisher, str] | None":
    """Start RTSP. Returns what is to be closed, in this order, and its address; None where there is none,
    which is told."""
    from siwatsystem.cameras.encoding import Encoder
    from siwatsystem.cameras.rtsp import PATH, GstServer, NoRtspServer, Publisher
    from siwatsystem.logs import redact

    try:
        if publish is not None:
            frame = film.latest
            assert frame is not None
            height, width = frame.shape
            sink, where = Publisher(publish, width, height), redact(publish)
        else:
            sink = GstServer(host, port)
            where = f"rtsp://{_shown(host)}:{sink.port}{PATH}"
    except NoRtspServer as error:
        typer.echo(error.message, err=True)
        return None
    encoder = Encoder(film, sink.write)
    encoder.start()
    return encoder, sink, where


def _http(host: str, port: int) -> dict[str, str | int]:
    base = f"http://{_shown(host)}:{port}"
    return {"snapshotUrl": f"{base}/snapshot.jpg", "snapshotInterval": 500, "status": f"{base}/status"}


def _table(enter: dict[str, str | int]) -> str:
    return "\n".join([*(f"{name:18}{value}" for name, value in enter.items()), "Ctrl-C ends it"])


def _shown(host: str) -> str:
    """The address that others enter: this machine's own where all addresses are listened on."""
    if host not in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return f"[{host}]" if ":" in host else host
    try:
        # No packet is sent: the system only chooses from which address it would.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"


@contextmanager
def _signalled(ended: threading.Event) -> Generator[None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
