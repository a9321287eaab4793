"""Process groups that are signalled as a whole, and never a stranger that has got a dead process's number.

A leader is held by a descriptor (pidfd), which means that one process for ever. The group is signalled
through it, too, where the kernel can (6.9 on); else by number while the leader has not been reaped, else
process by process. Processes that left the group are found by a mark in their environment.
"""

import contextlib
import errno
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_WHOLE_GROUP = 4
"""PIDFD_SIGNAL_PROCESS_GROUP."""
_ROUNDS = 5
"""For what is forked while its parents are killed."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, told from all others. `start`: clock ticks from boot to its start."""

    pid: int
    start: int
    boot: str


def identify(pid: int) -> Identity | None:
    """None where there is none with this number, or only what is left of a dead one."""
    try:
        # The name, in brackets, may hold anything.
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return None
        return Identity(pid, int(fields[19]), boot())
    except (OSError, IndexError, ValueError):
        return None


def boot() -> str:
    """Names this life of the machine."""
    return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


class Group:
    """The group that the process `pid` leads, and what it left running elsewhere: all that carry `mark`, as
    `NAME=value`. Whoever made it closes it. For one thread at a time."""

    def __init__(self, pid: int, mark: str, *, reaped_here: bool) -> None:
        """`reaped_here`: it is a child that is only reaped after `end`. Raises OSError: it is not there."""
        self.pid = pid
        self._mark = mark.encode()
        self._reaped_here = reaped_here
        self.descriptor = os.pidfd_open(pid)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    @property
    def lives(self) -> bool:
        """Whether its leader has not ended."""
        return self.descriptor >= 0 and not _ended(self.descriptor)

    def send(self, number: signal.Signals) -> None:
        """To every process of the group, also when its leader has ended; none is no error."""
        if self.descriptor < 0:
            return
        try:
            signal.pidfd_send_signal(self.descriptor, number, None, _WHOLE_GROUP)
        except ProcessLookupError:
            pass
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._send_one_by_one(number)

    def _send_one_by_one(self, number: signal.Signals) -> None:
        """As kernels before 6.9 need it."""
        with contextlib.suppress(ProcessLookupError):
            if self._reaped_here:  # not reaped yet: nobody else can have its number
                os.killpg(self.pid, number)
                return
            signal.pidfd_send_signal(self.descriptor, number)
        for descriptor in _marked(self._mark):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)

    def end(self) -> None:
        """Kill all that is left of it, in the group and elsewhere."""
        self.send(signal.SIGKILL)
        kill_marked(self._mark.decode())


def find(identity: Identity, variables: set[str], mark: str) -> Group | None:
    """The group of a process that another life of this server started. None: it is not there any more, or
    another process, or one without these `variables` (as `NAME=value`), has its number."""
    try:
        group = Group(identity.pid, mark, reaped_here=False)
    except OSError:
        return None
    # Looked at with the descriptor in hand: what is there now is what it means.
    wanted = {variable.encode() for variable in variables}
    if identify(identity.pid) == identity and wanted <= _environment(identity.pid) and group.lives:
        return group
    group.close()
    return None


def kill_marked(mark: str) -> None:
    """Kill every process that carries it, in whatever group."""
    for _ in range(_ROUNDS):
        left = 0
        for descriptor in _marked(mark.encode()):
            left += 1
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        if not left:
            return


def marked_leaders(mark: str) -> list[tuple[int, str]]:
    """Leaders of sessions that carry a variable beginning with `mark`: number and the whole variable."""
    found: list[tuple[int, str]] = []
    for pid in _pids():
        variable = next((each for each in _environment(pid) if each.startswith(mark.encode())), None)
        with contextlib.suppress(OSError):
            if variable is not None and os.getsid(pid) == pid:
                found.append((pid, variable.decode(errors="replace")))
    return found


def _marked(mark: bytes) -> Iterator[int]:
    """Descriptors of all living processes that carry it; each is closed once the next is asked for."""
    for pid in _pids():
        if mark not in _environment(pid):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            try:
                if mark in _environment(pid) and not _ended(descriptor):
                    yield descriptor
            finally:
                os.close(descriptor)


def _ended(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdigit())


def _environment(pid: int) -> set[bytes]:
    """Empty for a dead process, and for one of somebody else."""
    try:
        return set((_PROC / str(pid) / "environ").read_bytes().split(b"\0"))
    except OSError:
        return set()
