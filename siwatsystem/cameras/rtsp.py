"""Where encoded pictures become an RTSP stream: GStreamer's server where the system has one, or a server that
runs elsewhere and takes streams from publishers, such as MediaMTX."""

import contextlib
import logging
import shutil
import struct
import subprocess
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from siwatsystem.cameras.encoding import CLOCK, Unit
from siwatsystem.errors import StreamUnreachable
from siwatsystem.logs import redact

log = logging.getLogger(__name__)

PATH = "/stream"
HINT = (
    "no RTSP: it needs GStreamer's RTSP server (Debian, Ubuntu: apt install python3-gi "
    "gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad), or any server that "
    "takes streams, such as MediaMTX on Windows and macOS, with --publish rtsp://127.0.0.1:8554/stream"
)
_SCRIPT = Path(__file__).with_name("gst_rtsp_server.py")
_SYSTEM_PYTHON = "/usr/bin/python3"
_HEADER = struct.Struct(">IQB")
_START_SEC = 30.0
_OPTIONS = {"rtsp_transport": "tcp"}


class NoRtspServer(StreamUnreachable):
    """This system has no RTSP server of GStreamer's."""


class GstServer:
    """GStreamer's RTSP server, in a process of the system's own Python."""

    def __init__(self, host: str, port: int) -> None:
        """Raises NoRtspServer where the system has none, StreamUnreachable where the port is taken."""
        python = _SYSTEM_PYTHON if Path(_SYSTEM_PYTHON).exists() else shutil.which("python3")
        if python is None:
            raise NoRtspServer(HINT)
        command = [python, str(_SCRIPT), host, str(port), PATH]
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        timer = threading.Timer(_START_SEC, self._process.kill)
        timer.start()
        try:
            told = self._process.stdout.readline() if self._process.stdout else b""
        finally:
            timer.cancel()
        if not told.startswith(b"listening "):
            _, errors = self._process.communicate(timeout=5)
            lines = errors.decode(errors="replace").split("\n")
            taken = next((line for line in lines if "is taken" in line), None)
            raise StreamUnreachable(f"RTSP: {taken}") if taken else NoRtspServer(HINT)
        self.port = int(told.split()[1])
        # What GStreamer grumbles must not fill its pipe.
        self._drain = threading.Thread(target=self._process.stderr.read, name="rtsp-drain", daemon=True)  # type: ignore[union-attr]
        self._drain.start()

    def write(self, unit: Unit) -> None:
        """Hand a picture on. Raises OSError where the server has ended."""
        assert self._process.stdin is not None
        header = _HEADER.pack(len(unit.data), int(unit.shown_at * 1e9), unit.key)
        self._process.stdin.write(header + unit.data)
        self._process.stdin.flush()

    def close(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._drain.join(5)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


class Publisher:
    """Sends the stream to an RTSP server that takes it (ANNOUNCE, RECORD), and again when that was away."""

    def __init__(self, url: str, width: int, height: int) -> None:
        """Raises StreamUnreachable where nothing takes it."""
        self._url = url
        self._size = width - width % 2, height - height % 2
        self._output: Any = None
        self._stream: Any = None
        self._open()

    def write(self, unit: Unit) -> None:
        """Send a picture; after a failure from the next keyframe on again."""
        # Viewers can begin with nothing but a keyframe.
        if self._output is None and not (unit.key and self._reopened()):
            return
        packet = av.Packet(unit.data)
        packet.stream, packet.time_base = self._stream, Fraction(1, CLOCK)
        packet.pts = packet.dts = int(unit.shown_at * CLOCK)
        packet.is_keyframe = unit.key
        try:
            self._output.mux(packet)  # pyright: ignore[reportOptionalMemberAccess] - it was opened above
        except (av.error.FFmpegError, OSError) as error:
            log.warning("%s: %s; it is tried again", redact(self._url), _words(error))
            self.close()

    def close(self) -> None:
        output, self._output = self._output, None
        if output is not None:
            with contextlib.suppress(av.error.FFmpegError, OSError):
                output.close()

    def _reopened(self) -> bool:
        try:
            self._open()
        except StreamUnreachable:
            return False
        return True

    def _open(self) -> None:
        try:
            self._output = av.open(self._url, "w", format="rtsp", options=dict(_OPTIONS))
            self._stream = self._output.add_stream("h264", rate=30)
            self._stream.width, self._stream.height = self._size
            self._stream.pix_fmt = "yuv420p"
            self._stream.time_base = Fraction(1, CLOCK)
            # Else it is asked with the first picture only.
            self._output.start_encoding()
        except (av.error.FFmpegError, OSError) as error:
            self._output = None
            raise StreamUnreachable(f"{redact(self._url)} takes no stream: {_words(error)}") from None


def _words(error: av.error.FFmpegError | OSError) -> str:
    """Without the address, and so the password, that the library puts behind."""
    return error.strerror or type(error).__name__
