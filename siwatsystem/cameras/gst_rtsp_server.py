"""An RTSP server for pictures that are encoded elsewhere. Run by the system's own Python, whose `gi` does not
import in a virtual environment; needs nothing else.

    python3 gst_rtsp_server.py HOST PORT PATH < pictures

Each picture on stdin is its length (4 bytes), its time in nanoseconds (8 bytes), whether it is a keyframe
(1 byte), all with the highest byte first, and H.264 with start codes. Prints `listening PORT` when clients
are accepted; ends with stdin.
"""

import os
import struct
import sys
import threading
from typing import Any

import gi  # pyright: ignore[reportMissingImports]

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstApp, GstRtspServer  # noqa: E402, F401 # pyright: ignore

HEADER = struct.Struct(">IQB")
PLAY = (
    "( appsrc name=pictures is-live=true format=time do-timestamp=true "
    "caps=video/x-h264,stream-format=byte-stream,alignment=au max-bytes=4000000 leaky-type=downstream "
    "! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 )"
)
SESSION_CHECK_SEC = 5


class LiveFactory(GstRtspServer.RTSPMediaFactory):  # type: ignore[misc]
    """Makes the one media that all clients share, and hands it the pictures from a keyframe on."""

    def __init__(self) -> None:
        super().__init__()
        self.set_launch(PLAY)
        self.set_shared(True)
        self._lock = threading.Lock()
        self._source: Any = None
        self._waits = True
        self.connect("media-configure", self._configure)

    def push(self, data: bytes, key: bool) -> None:
        """One picture, from the thread that reads them."""
        with self._lock:
            source, self._waits = self._source, self._waits and not key
            if source is None or self._waits:
                return
        source.emit("push-buffer", Gst.Buffer.new_wrapped(data))

    def _configure(self, _factory: Any, media: Any) -> None:
        with self._lock:
            self._source = media.get_element().get_by_name_recurse_up("pictures")
            self._waits = True
        media.connect("unprepared", self._gone)

    def _gone(self, _media: Any) -> None:
        with self._lock:
            self._source = None


def read(factory: LiveFactory) -> None:
    """Hand on what comes; ends the process with stdin."""
    pictures = sys.stdin.buffer
    while len(header := pictures.read(HEADER.size)) == HEADER.size:
        size, _shown_at, key = HEADER.unpack(header)
        factory.push(pictures.read(size), bool(key))
    os._exit(0)


def _cleaner(server: Any) -> Any:
    """Ends sessions of clients that went without a word."""
    return lambda: server.get_session_pool().cleanup() >= 0


def main() -> None:
    host, port, path = sys.argv[1:4]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(host)
    server.set_service(port)
    factory = LiveFactory()
    server.get_mount_points().add_factory(path, factory)
    if server.attach(None) == 0:
        raise SystemExit(f"port {port} of {host} is taken")
    GLib.timeout_add_seconds(SESSION_CHECK_SEC, _cleaner(server))
    threading.Thread(target=read, args=(factory,), daemon=True).start()
    print(f"listening {server.get_bound_port()}", flush=True)  # noqa: T201 - told to who started it
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
