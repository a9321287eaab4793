"""Apps in containers that run already: `docker exec` through Docker's own client, loaded when needed.

Two threads an app: `exec-out-…` appends its output to the log, `exec-…` waits for its end. An exec cannot be
stopped through the engine: its group is signalled by a second exec. Both need a `sh` in the container, which
runs the constant lines below; whatever a client gave reaches it as a positional parameter, unread.

After a restart of the server an exec is found again by its id; what it writes from then on nobody sees.
"""

import contextlib
import logging
import shlex
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from siwatsystem.deepstream.apps import App
from siwatsystem.deepstream.docker_engine import DockerEngine, EngineRefused, ExecOutput
from siwatsystem.deepstream.effects import LaunchApp, Signal
from siwatsystem.deepstream.events import Launched, LaunchFailed
from siwatsystem.deepstream.launch_context import Key, LaunchContext
from siwatsystem.deepstream.pid_files import PidFile

log = logging.getLogger(__name__)

_RUN = 'echo "$$" && exec "$@"'
"""Tells its number inside the container, then becomes the program. The engine made it a session's leader."""
_KILL = 'kill -s "$1" -- "-$2"'
_LOOK_SEC = 2.0
"""Between two looks whether an exec still runs."""
_SOON_SEC = 0.05
"""Before the first look after its output has ended."""
_FIRST_LINE_SEC = 10.0


@dataclass(eq=False, slots=True)
class _Running:
    key: Key
    container: str
    exec_id: str
    container_pid: int
    read: threading.Event
    """Its output was read to the end."""


class DockerExec:
    def __init__(self, context: LaunchContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._running: dict[Key, _Running] = {}
        self._engine = DockerEngine(context.settings.docker_socket)

    def launch(self, effect: LaunchApp) -> None:
        self._context.begin(effect, self._start)

    def signal(self, effect: Signal) -> bool:
        with self._lock:
            running = self._running.get((effect.instance_id, effect.run))
        if running is None:
            return False
        names = ["TERM", "CONT"] if effect.signal == "TERM" else ["KILL"]
        self._context.soon(lambda: self._send(running, names))
        return True

    def adopt(self, apps: Sequence[App], entries: Sequence[PidFile]) -> None:
        """Watch those of `apps` whose exec may still run; its end is told by whoever waits for it."""
        known = {(entry.instance_id, entry.run): entry for entry in entries}
        for app in apps:
            key = (app.instance_id, app.run)
            entry = known.pop(key, None)
            if entry is None:
                self._context.exited(key, None)
                continue
            if app.process is not None and app.process.container_pid != entry.container_pid:
                self._say_launched(entry)
            nothing_to_read = threading.Event()
            nothing_to_read.set()
            self._add(_of(entry, nothing_to_read))
        for entry in known.values():
            log.warning("%s: nobody waits for its exec in %s any more", entry.instance_id, entry.container)
            self._context.soon(lambda entry=entry: self._reap(entry))

    def close(self, timeout_sec: float) -> None:
        """Kill what still runs; what an engine that does not answer runs is left."""
        with self._lock:
            running = list(self._running.values())
        for each in running:
            self._context.soon(lambda each=each: self._send(each, ["KILL"]))
        end = time.monotonic() + timeout_sec
        while self._running and time.monotonic() < end:
            time.sleep(0.02)
        self._engine.close()

    # --- launching ----------------------------------------------------------------------------

    def _start(self, effect: LaunchApp) -> LaunchFailed | None:
        key, container = (effect.instance_id, effect.run), effect.spec.docker_container or ""
        try:
            engine = self._engine.connect()
            engine.check(container)
            arguments = self._context.allowed.arguments(effect.instance_id, effect.spec)
            command = f"docker exec {container} {shlex.join(arguments)}"
            app_log = self._context.log_of(effect.instance_id)
            app_log.say(f"run {effect.run}: {command}")
            variables = self._context.variables(effect.instance_id, effect.spec)
            exec_id = engine.create(container, ["sh", "-c", _RUN, "sh", *arguments], variables)
            output = ExecOutput(engine.start(exec_id), app_log, effect.instance_id)
        except EngineRefused as refused:
            return LaunchFailed(*key, refused.reason, refused.status)
        first = output.first_line(_FIRST_LINE_SEC)
        if not first.isdigit():
            said = first.decode(errors="replace")[:500] or "it does not tell its number"
            return LaunchFailed(*key, f"nothing can be run in container {container}: {said}")
        entry = PidFile(*key, command, container=container, exec_id=exec_id, container_pid=int(first))
        self._context.folder.save(entry)
        self._say_launched(entry)
        self._add(_of(entry, output.read))
        return None

    def _say_launched(self, entry: PidFile) -> None:
        pid: int | None = None
        with contextlib.suppress(EngineRefused):
            pid = (self._engine.connect().look(entry.exec_id) or {}).get("Pid") or None
        path = str(self._context.log_of(entry.instance_id).path)
        launched = Launched(entry.instance_id, entry.run, pid, entry.container_pid, path, entry.command)
        self._context.say(launched)

    def _add(self, running: _Running) -> None:
        with self._lock:
            self._running[running.key] = running
        name = f"exec-{running.key[0]}"
        threading.Thread(target=self._wait, args=(running,), name=name, daemon=True).start()
        if self._context.closing.is_set():
            self._send(running, ["KILL"])

    # --- while it runs ------------------------------------------------------------------------

    def _wait(self, running: _Running) -> None:
        """Until its end was seen and told. An output may end before that, and long after it."""
        pause = _SOON_SEC
        while True:
            if running.read.wait(_LOOK_SEC):
                time.sleep(pause)
                pause = min(pause * 2, _LOOK_SEC)
            try:
                state = self._engine.connect().look(running.exec_id)
            except EngineRefused:
                time.sleep(_LOOK_SEC)
                continue
            except Exception:  # the thread's outermost loop: without it no end would ever be told
                log.exception("%s: whether it still runs cannot be told", running.key[0])
                time.sleep(_LOOK_SEC)
                continue
            if state is None or not state.get("Running"):
                break
        if not self._context.closing.is_set():
            running.read.wait(self._context.settle_sec)
            time.sleep(self._context.settle_sec)
        with self._lock:
            del self._running[running.key]
        self._context.exited(running.key, None if state is None else state.get("ExitCode"))

    def _send(self, running: _Running, names: Sequence[str]) -> None:
        """The signals, to its group inside the container; only while it runs: numbers are used again."""
        try:
            engine = self._engine.connect()
            for name in names:
                if (engine.look(running.exec_id) or {}).get("Running"):
                    line = ["sh", "-c", _KILL, "sh", name, str(running.container_pid)]
                    engine.run(engine.create(running.container, line, {}))
        except EngineRefused as refused:
            log.warning("%s cannot be signalled: %s", running.key[0], refused.reason)

    def _reap(self, entry: PidFile) -> None:
        self._send(_of(entry, threading.Event()), ["KILL"])
        self._context.folder.remove(entry.instance_id, entry.run)


def _of(entry: PidFile, read: threading.Event) -> _Running:
    key = (entry.instance_id, entry.run)
    return _Running(key, entry.container or "", entry.exec_id, entry.container_pid or 0, read)
