"""Both embedded servers of one worker: started at first use, started again if they died, ended with it.

All starts happen on one thread that lives until `close`, because the kernel ends a server when the
thread that started it is gone: that is how none outlives a worker that was killed.
"""

import fcntl
import hashlib
import logging
import os
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TypeVar

from siwatsystem.embedded import process
from siwatsystem.embedded.postgres import EmbeddedPostgres
from siwatsystem.embedded.redis import EmbeddedRedis
from siwatsystem.errors import TargetUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T", EmbeddedRedis, EmbeddedPostgres)
SHARED_ROOT = Path("/var/lib/siwatsystem")
"""Where root's servers keep their data when their user may not enter the data directory."""


class EmbeddedServers:
    """Redis and PostgreSQL under `data_dir/embedded`, on 127.0.0.1, each behind a random password.

    Ports of 0 take a free one, kept while this object lives. Thread-safe. What is raised is
    TargetUnavailable: a missing package, a folder in use by another worker, a server that ends.
    """

    def __init__(self, data_dir: Path, *, redis_port: int = 0, postgresql_port: int = 0) -> None:
        self._root = data_dir.absolute() / "embedded"
        self._redis_port = redis_port
        self._postgresql_port = postgresql_port
        self._redis: EmbeddedRedis | None = None
        self._postgresql: EmbeddedPostgres | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._guard: TextIOWrapper | None = None
        self._lock = threading.Lock()
        self._closed = False

    def redis(self) -> dict[str, Any]:
        """The value of `redis` in pipeline.json (host, port, password, db); the server runs."""
        return self._call(self._ensure_redis)

    def postgresql(self) -> dict[str, Any]:
        """The value of `postgresql` in pipeline.json; the server runs."""
        return self._call(self._ensure_postgresql)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the servers that were started, by name."""
        found = {
            "redis": self._redis.pid if self._redis else None,
            "postgresql": self._postgresql.pid if self._postgresql else None,
        }
        return {name: pid for name, pid in found.items() if pid is not None}

    def close(self) -> None:
        """End both servers within about 10 s. What is asked afterwards raises TargetUnavailable."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            try:
                thread.submit(self._stop).result()
            except RuntimeError:
                self._stop()  # the interpreter is ending: its thread pools are closed before atexit runs
            thread.shutdown()

    def _call(self, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        with self._lock:
            if self._closed:
                raise TargetUnavailable("the embedded servers are closed")
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedded")
            try:
                answer = self._thread.submit(make)
            except RuntimeError:
                raise TargetUnavailable("the process is ending") from None
        return answer.result()

    def _ensure_redis(self) -> dict[str, Any]:
        if self._redis is None:
            self._redis = self._make(EmbeddedRedis, "redis", self._redis_port)
        return self._redis.ensure_running()

    def _ensure_postgresql(self) -> dict[str, Any]:
        if self._postgresql is None:
            self._postgresql = self._make(EmbeddedPostgres, "postgresql", self._postgresql_port)
        return self._postgresql.ensure_running()

    def _make(self, kind: type[T], name: str, port: int) -> T:
        self._guard_folder()
        folder = self._root / name
        account = process.account_for(folder)
        if not process.reachable(folder, account):
            digest = hashlib.sha256(str(self._root).encode()).hexdigest()[:16]
            folder = SHARED_ROOT / digest / name
            log.warning("embedded %s: its user may not enter %s; its data is in %s", name, self._root, folder)
            account = process.account_for(folder)
            for part in (SHARED_ROOT, folder.parent):
                part.mkdir(parents=True, exist_ok=True)
                part.chmod(0o711)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        account.own(folder)
        return kind(folder, account, _password(self._root / f"{name}.password"), port)

    def _guard_folder(self) -> None:
        """Hold the folder for this process; the kernel lets go of it if the process is killed."""
        if self._guard is not None:
            return
        self._root.mkdir(parents=True, exist_ok=True)
        guard = (self._root / "lock").open("w")
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            guard.close()
            raise TargetUnavailable(f"another worker uses the embedded servers in {self._root}") from None
        self._guard = guard

    def _stop(self) -> None:
        for server in (self._redis, self._postgresql):
            if server is not None:
                server.close()
        if self._guard is not None:
            self._guard.close()
            self._guard = None


def _password(file: Path) -> str:
    """The password kept in `file`, made at first use, readable by the worker's user only."""
    if not file.exists():
        part = file.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
            output.write(secrets.token_hex(24))
        part.replace(file)
    return file.read_text()
