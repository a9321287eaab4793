"""Child processes of the demo and of tests: started, waited for, ended by id."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def free_port(wanted: int = 0) -> int:
    """`wanted` if nobody listens there, else a port that is free on loopback now."""
    for port in (wanted, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            found: int = probe.getsockname()[1]
            return found
    raise OSError("no free port on 127.0.0.1")


class Process:
    """A child in a process group of its own, its output in a file."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.command = list(command)
        with log.open("ab") as output:
            self._begin = output.tell()
            self.child = subprocess.Popen(
                self.command,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    def first_line(self, timeout: float) -> str:
        """What it prints first. Raises RuntimeError when it prints nothing in time, or ends."""
        assert self.child.stdout is not None
        ready, _, _ = select.select([self.child.stdout], [], [], timeout)
        line = self.child.stdout.readline().decode().strip() if ready else ""
        if not line:
            raise RuntimeError(f"{self.command[1]}: not ready after {timeout:.0f} s\n{self.tail()}")
        return line

    def tail(self, lines: int = 15) -> str:
        """The end of what it logged; not of what an earlier one did, whose log it goes on with."""
        text = self.log.read_bytes()[self._begin :].decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def ending(self) -> str:
        """How it ended, in words; empty while it runs."""
        status = self.child.poll()
        if status is None:
            return ""
        if status >= 0:
            return f"has ended with status {status}"
        name = next((one.name for one in signal.Signals if one == -status), "")
        return f"was killed by signal {-status}{name and f' ({name})'}"

    def stop(self, timeout: float = 8.0) -> int:
        """SIGTERM, then SIGKILL to its group. Returns the exit status."""
        if self.child.poll() is None:
            self.child.terminate()
            deadline = time.monotonic() + timeout
            while self.child.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
        if self.child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)
        status = self.child.wait()
        if self.child.stdout is not None:
            self.child.stdout.close()
        return status
