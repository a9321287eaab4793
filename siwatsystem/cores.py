"""How many of the machine's cores this process may use: its affinity, and what its container allows.

Every pool that is sized by cores, and every runtime that would take them all, asks here. More threads
than a quota has room for are stopped together, in the midst of their work, for the rest of each period.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_PROCESS = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """At least 1."""
    affinity, allowed = len(os.sched_getaffinity(0)), quota()
    return affinity if allowed is None else min(affinity, allowed)


def cores_under_quota() -> int:
    """`usable_cores` where a container's quota allows fewer than the affinity, which runtimes see by
    themselves; else 0."""
    usable = usable_cores()
    return usable if usable < len(os.sched_getaffinity(0)) else 0


def quota(process: Path = _PROCESS, root: Path = _ROOT) -> int | None:
    """Cores' worth of time that the control groups of this process allow, rounded up; None without a limit.

    `process` names the groups (as /proc/self/cgroup), which lie below `root`; the tightest counts.
    """
    found: list[float] = []
    for group in _groups(process, root):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            found.append(_allowed(group))
    least = min(found, default=math.inf)
    return max(1, math.ceil(least)) if math.isfinite(least) else None


def _groups(process: Path, root: Path) -> Iterator[Path]:
    """The folders of this process's groups and of those around them."""
    try:
        lines = process.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0" and not controllers:
            top = root
        elif "cpu" in controllers.split(","):
            top = next((place for name in (controllers, "cpu") if (place := root / name).is_dir()), root)
        else:
            continue
        # In a container the path may be the host's, of which only the top is to be seen.
        below = PurePosixPath(path.lstrip("/"))
        yield from (top / part for part in (below, *below.parents) if ".." not in part.parts)


def _allowed(group: Path) -> float:
    """Cores' worth of time of one group. Raises OSError or ValueError where it says nothing of that."""
    if (both := group / "cpu.max").is_file():
        allowed, period = both.read_text(encoding="ascii").split()
        if allowed == "max":
            return math.inf
    else:
        allowed = (group / "cpu.cfs_quota_us").read_text(encoding="ascii")
        period = (group / "cpu.cfs_period_us").read_text(encoding="ascii")
    cores = int(allowed) / int(period)
    return cores if cores > 0 else math.inf
