"""Which opener an address gets. The libraries are imported when the first such camera is opened."""

from collections.abc import Callable
from importlib import import_module

from siwatsystem.errors import StreamRefused
from siwatsystem.streams.reader import Opening, Reader

_HANDLERS = {
    "rtsp": "rtsp:open_rtsp",
    "rtsps": "rtsp:open_rtsp",
    "http": "web:open_web",
    "https": "web:open_web",
    "file": "file:open_file",
    "webcam": "webcam:open_webcam",
    "snapshot": "snapshot:open_snapshot",
}


def open_camera(opening: Opening) -> Reader:
    """Open the camera with what its scheme calls for. Raises StreamError."""
    snapshot = opening.spec.snapshot_interval_ms is not None
    handler = _HANDLERS.get("snapshot" if snapshot else opening.address.scheme)
    if handler is None:
        raise StreamRefused(f"nothing opens {opening.address.scheme} addresses")
    module, _, name = handler.partition(":")
    opener: Callable[[Opening], Reader] = getattr(import_module(f"siwatsystem.streams.{module}"), name)
    return opener(opening)
