"""What becomes of files where analysis apps, and the control server above them, are killed."""

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.acceptance.control import ControlServer, alive
from tests.faults.promise import Figure, Length, Promise


def apps_killed(folder: Path, length: Length) -> Sequence[Figure]:
    """A folder of files is worked through while first the app, then the server is killed, in turns."""
    turns = length.times(1, 4)
    files = 6 * turns
    server = ControlServer(folder, 0.4)
    server.launch()
    server.push(files)
    adopted, seen = 0, set[int]()
    try:
        for turn in range(turns):
            before = _app(server, seen)
            _until_done(server, 6 * turn + 1)
            os.kill(before, signal.SIGKILL)
            after = server.until(
                lambda before=before: _app(server, seen) not in (0, before) and _app(server, seen)
            )
            _until_done(server, 6 * turn + 4)
            server.kill()
            server.start()
            server.until(lambda: server.get("/instances/one")["ws_status"] == "connected")
            adopted += _app(server, seen) == after
        server.until(server.done, 240)
        counts, analysed = server.counts(), server.analysed()
        status = server.process.stop(40)
        left = sum(alive(pid) for pid in seen)
    finally:
        server.process.stop(40)
        for pid in seen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return [
        Figure("files", files, files, least=True),
        Figure("of them counted as done", counts["done"], files, least=True),
        Figure("results counted twice", counts["done"] - files, 0),
        Figure("files that no app analysed", files - len(analysed), 0),
        Figure("analysed again, at most the one at each kill", sum(analysed.values()) - files, turns),
        Figure("apps adopted by the next server", adopted, turns, least=True),
        Figure("status of the server", status, 0),
        Figure("processes left", left, 0),
    ]


def _app(server: ControlServer, seen: set[int]) -> int:
    """The app's process now; 0 while there is none."""
    pid = int(server.get("/processes/proc_one")["host_pid"] or 0)
    seen |= {pid} - {0}
    return pid


def _until_done(server: ControlServer, count: int) -> None:
    server.until(lambda: server.counts()["done"] >= count, 120)


PROMISES = (
    Promise(
        "apps-killed",
        "analysis app killed, control server killed",
        "`kill -9` of either, in turns, while a folder is worked through",
        "files back in the queue, each counted once; apps adopted after the restart",
        apps_killed,
    ),
)
