"""An RTSP camera: plays H.264 clips for ever, without decoding or encoding them.

    /usr/bin/python3 rtsp_server.py [--port N] [--user U --password P] --mount=/name=clip.mp4 …

Run by the system's own Python (its `gi` does not import in a virtual environment); needs nothing
else. Each clip is read into memory once; all clients of a mount watch the same run of it, whose
timestamps rise across the loop. Prints `listening rtsp://127.0.0.1:PORT` when it accepts clients.
"""

import argparse
import os
import signal
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstApp, GstRtspServer  # noqa: E402, F401

READ = (
    'filesrc location="{path}" ! qtdemux ! h264parse config-interval=-1 '
    "! video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out sync=false"
)
PLAY = (
    "( appsrc name=clip is-live=true format=time caps=video/x-h264,stream-format=byte-stream,alignment=au "
    "! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 )"
)
SESSION_CHECK_SEC = 5


class Picture(NamedTuple):
    """One access unit of a clip, in decoding order; times in nanoseconds."""

    data: bytes
    shown_at: int
    decoded_at: int
    lasts: int
    key: bool


def read_clip(path: str) -> list[Picture]:
    """All pictures of an H.264 file in order. Exits with a message when there are none."""
    pipeline: Any = Gst.parse_launch(READ.format(path=path))
    sink = pipeline.get_by_name("out")
    pipeline.set_state(Gst.State.PLAYING)
    pictures: list[Picture] = []
    while sample := sink.emit("pull-sample"):
        buffer = sample.get_buffer()
        key = not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT)
        data = buffer.extract_dup(0, buffer.get_size())
        decoded_at = buffer.pts if buffer.dts == Gst.CLOCK_TIME_NONE else buffer.dts
        pictures.append(Picture(data, buffer.pts, decoded_at, buffer.duration, key))
    pipeline.set_state(Gst.State.NULL)
    if not pictures:
        raise SystemExit(f"{path}: no H.264 video could be read")
    return pictures


def forever(pictures: Sequence[Picture]) -> Iterator[Any]:
    """The pictures as buffers, again and again, with times that only rise."""
    ends_at = max(picture.shown_at + picture.lasts for picture in pictures)
    length = ends_at - min(picture.shown_at for picture in pictures)
    # Pictures may be decoded before the first one is shown, and no time may be below zero.
    started = -min(picture.decoded_at for picture in pictures)
    while True:
        for picture in pictures:
            buffer = Gst.Buffer.new_wrapped(picture.data)
            buffer.pts = started + picture.shown_at
            buffer.dts = started + picture.decoded_at
            buffer.duration = picture.lasts
            if not picture.key:
                buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
            yield buffer
        started += length


class ClipFactory(GstRtspServer.RTSPMediaFactory):
    """Makes the one media that all clients of a mount share."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._pictures = read_clip(path)
        self.set_launch(PLAY)
        self.set_shared(True)
        self.connect("media-configure", self._configure)

    def _configure(self, _factory: Any, media: Any) -> None:
        buffers = forever(self._pictures)
        source = media.get_element().get_by_name_recurse_up("clip")
        source.set_property("max-buffers", 2)
        source.connect("need-data", lambda src, _size: src.emit("push-buffer", next(buffers)))


def require_login(server: Any, factories: Sequence[Any], user: str, password: str) -> None:
    """Answer 401 to all who do not give this user and password (basic authentication)."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    for factory in factories:
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Play H.264 clips over RTSP for ever.")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--mount", action="append", required=True, help="/name=clip.mp4")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(options.port))
    factories: list[Any] = []
    for mount in options.mount:
        name, _, path = mount.partition("=")
        factories.append(ClipFactory(path))
        server.get_mount_points().add_factory(name, factories[-1])
    if options.user:
        require_login(server, factories, options.user, options.password)
    if server.attach(None) == 0:
        raise SystemExit(f"port {options.port} of 127.0.0.1 is taken")
    GLib.timeout_add_seconds(SESSION_CHECK_SEC, lambda: server.get_session_pool().cleanup() >= 0)
    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGTERM, lambda: os._exit(0))
    print(f"listening rtsp://127.0.0.1:{server.get_bound_port()}", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
