"""Host names to addresses, with a deadline, and refused where one must not be talked to."""

import queue
import socket
import threading

from siwatsystem.config import StreamSettings
from siwatsystem.errors import StreamUnreachable
from siwatsystem.streams.address import check_host_address
from siwatsystem.streams.stop import Stop

STEP_SEC = 0.1


def check_host(host: str, settings: StreamSettings, stop: Stop) -> None:
    """Raises StreamRefused where any address of `host` is refused, StreamUnreachable without any.

    The resolver cannot be interrupted, so it runs in a thread of its own that is left alone when
    it takes longer than `connect_timeout_sec`; it ends by its own time-outs.
    """
    answers: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
    thread = threading.Thread(target=_resolve, args=(host, answers), name="resolve", daemon=True)
    thread.start()
    for _ in range(max(1, round(settings.connect_timeout_sec / STEP_SEC))):
        try:
            addresses = answers.get(timeout=STEP_SEC)
            break
        except queue.Empty:
            if stop.is_set():
                raise StreamUnreachable("stopped while the camera's name was resolved") from None
    else:
        raise StreamUnreachable("the camera's name could not be resolved in time")
    if not addresses:
        raise StreamUnreachable("the camera's name is not known")
    for address in addresses:
        check_host_address(address, settings)


def _resolve(host: str, answers: "queue.SimpleQueue[list[str]]") -> None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    answers.put([str(item[4][0]) for item in found])
