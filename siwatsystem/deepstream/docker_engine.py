"""The Docker engine, asked through Docker's own Python client: the one place that knows it."""

import contextlib
import logging
import os
import socket
import struct
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from siwatsystem.deepstream.app_logs import AppLog

log = logging.getLogger(__name__)

_ANSWER_SEC = 10
_CAP_BYTES = 1024 * 1024
_MAX_FIRST_LINE = 4096
_PART_BYTES = 64 * 1024


class EngineRefused(Exception):
    """What the engine does not do, or that it does not answer. `status`: the HTTP status for who asked."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class DockerEngine:
    """Connects when first needed, and again after a failure. All calls block, for 10 s at most."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._client: Any = None

    def connect(self) -> "DockerEngine":
        """Itself, connected. Raises EngineRefused."""
        try:  # by hand: the client does not close a socket that nobody answers at
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_ANSWER_SEC)
                probe.connect(str(self._path))
        except OSError as error:
            reason = f"the Docker engine does not answer at {self._path}: {error.strerror or error}"
            raise EngineRefused(503, reason) from None
        with self._lock:
            if self._client is not None:
                return self
            try:
                import docker
            except ImportError:
                raise EngineRefused(503, "Docker's client is not installed (pip install docker)") from None
            with _refusals():
                self._client = docker.APIClient(
                    base_url=f"unix://{self._path}", version="auto", timeout=_ANSWER_SEC
                )
        return self

    def close(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._client is not None:
                self._client.close()
            self._client = None

    def check(self, container: str) -> None:
        """Raises EngineRefused: 404 for one that is not there, 409 for one that does not run."""
        with _refusals(f"there is no container {container}"):
            state = self._client.inspect_container(container)["State"]
        if not state.get("Running") or state.get("Paused"):
            status = state.get("Status") or "stopped"
            raise EngineRefused(409, f"container {container} does not run ({status})")

    def create(self, container: str, arguments: Sequence[str], variables: Mapping[str, str]) -> str:
        """Prepares an exec; its id. Raises EngineRefused."""
        with _refusals(f"there is no container {container}"):
            made = self._client.exec_create(container, list(arguments), environment=dict(variables))
            return str(made["Id"])

    def start(self, exec_id: str) -> Iterator[tuple[int, bytes]]:
        """Begins it; what it writes to stdout (1) and stderr (2), to be read to the end.

        Raises EngineRefused.
        """
        with _refusals():
            stream = self._client.exec_start(exec_id, socket=True)
        return _frames(stream)

    def run(self, exec_id: str) -> bytes:
        """Runs a short one to its end; what it wrote. Raises EngineRefused."""
        with _refusals():
            return b"".join(part for _, part in self.start(exec_id))

    def look(self, exec_id: str) -> dict[str, Any] | None:
        """`Running`, `ExitCode`, `Pid` on the host; None: unknown. Raises EngineRefused: no answer."""
        try:
            with _refusals("gone"):
                return self._client.exec_inspect(exec_id)
        except EngineRefused as refused:
            if refused.status == 404:
                return None
            raise


def _frames(stream: Any) -> Iterator[tuple[int, bytes]]:
    """What an exec writes, and to which of its outputs. The client's own reader loses what came together with
    the answer's headers: it goes past the buffer in which that is."""
    answer = stream._response.raw
    source = answer._fp.fp
    stream._sock.settimeout(None)  # an app may be silent for long
    try:
        while len(header := source.read(8)) == 8:
            output, size = struct.unpack(">BxxxL", header)
            while size > 0:
                part = source.read1(min(size, _PART_BYTES))
                if not part:
                    return
                size -= len(part)
                yield output, part
    finally:
        answer.close()  # the socket alone would leave its connection open


@contextlib.contextmanager
def _refusals(missing: str = "it is not there") -> Generator[None]:
    """Every error of the client as one of ours."""
    import docker.errors

    try:
        yield
    except docker.errors.NotFound as error:
        raise EngineRefused(404, missing) from error
    except docker.errors.APIError as error:
        conflict = error.status_code == 409
        raise EngineRefused(409 if conflict else 503, f"the Docker engine: {error.explanation}") from error
    except (docker.errors.DockerException, OSError) as error:  # requests' errors are OSErrors
        raise EngineRefused(503, f"the Docker engine does not answer: {error}") from error


class ExecOutput:
    """Appends what an exec writes to a log, in a thread of its own, but for the first line of stdout."""

    def __init__(self, stream: Iterable[tuple[int, bytes]], app_log: AppLog, name: str) -> None:
        self.read = threading.Event()
        """It was read to its end."""
        self._stream = stream
        self._log = app_log
        self._first = b""
        self._told = threading.Event()
        threading.Thread(target=self._copy, name=f"exec-out-{name}", daemon=True).start()

    def first_line(self, timeout_sec: float) -> bytes:
        """Without its end; what there is of it where it does not come in time."""
        self._told.wait(timeout_sec)
        return self._first.strip()

    def _copy(self) -> None:
        try:
            descriptor = self._log.open()
            try:
                written = 0
                for part in self._after_first_line():
                    with contextlib.suppress(OSError):  # a full disk: an app must not wait for it
                        os.write(descriptor, part)
                    written += len(part)
                    if written >= _CAP_BYTES:
                        written = 0
                        self._log.cap()
            finally:
                os.close(descriptor)
        except Exception as error:  # the client's, its libraries' and the disk's
            log.warning("%s is not written any more: %s", self._log.path, error)
        self._told.set()
        self.read.set()

    def _after_first_line(self) -> Iterator[bytes]:
        for output, part in self._stream:
            if self._told.is_set() or output != 1:
                yield part
                continue
            self._first += part
            if b"\n" in self._first or len(self._first) > _MAX_FIRST_LINE:
                self._first, _, rest = self._first.partition(b"\n")
                self._told.set()
                yield rest
