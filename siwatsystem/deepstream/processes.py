"""Apps as local processes: each leads a session of its own and writes its log itself.

One thread (`app-watch`) waits for their ends and keeps the logs within their size; launches run in the
context's threads. Whatever an app leaves behind is killed with its end. A server that is killed leaves its
apps alone: the next one adopts them.
"""

import contextlib
import logging
import os
import resource
import selectors
import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from siwatsystem.deepstream import environment, groups
from siwatsystem.deepstream.app_logs import AppLog
from siwatsystem.deepstream.apps import App
from siwatsystem.deepstream.effects import LaunchApp, Signal
from siwatsystem.deepstream.events import Launched, LaunchFailed
from siwatsystem.deepstream.launch_context import Key, LaunchContext
from siwatsystem.deepstream.pid_files import PidFile

log = logging.getLogger(__name__)

_LOOK_SEC = 0.5
"""Between two looks at the sizes of logs."""


@dataclass(eq=False, slots=True)
class _Running:
    key: Key
    group: groups.Group
    log: AppLog
    child: "subprocess.Popen[bytes] | None"
    """None: another life of the server started it."""
    over: bool = False
    """Its end was seen; from then on only the watching thread has to do with it."""
    code: int | None = None
    tell_at: float = 0.0


class Processes:
    def __init__(self, context: LaunchContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._running: dict[Key, _Running] = {}
        self._new: deque[_Running] = deque()
        self._ended: deque[_Running] = deque()
        """Those whose end was seen and is to be told in a moment; the watching thread's alone."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._watch, name="app-watch", daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str | None:
        """Why apps are not watched as they must be; None while they are."""
        if not self._thread.is_alive() and not self._context.closing.is_set():
            return "nobody watches the apps' ends any more: the server must be started again"
        return self._failure

    # --- what is wanted -----------------------------------------------------------------------

    def launch(self, effect: LaunchApp) -> None:
        self._context.begin(effect, self._start)

    def signal(self, effect: Signal) -> bool:
        key = (effect.instance_id, effect.run)
        with self._lock:
            running = self._running.get(key)
            if running is None:
                return False
            if not running.over:
                _send(running, signal.SIGTERM if effect.signal == "TERM" else signal.SIGKILL)
        return True

    def close(self, timeout_sec: float) -> None:
        """Kill what still runs, and wait for its end."""
        with self._lock:
            for running in self._running.values():
                if not running.over:
                    _send(running, signal.SIGKILL)
        os.eventfd_write(self._wake, 1)
        self._thread.join(timeout_sec)
        if self._thread.is_alive():
            log.error("apps have not ended %g s after SIGKILL", timeout_sec)
        else:
            os.close(self._wake)

    # --- launching ----------------------------------------------------------------------------

    def _start(self, effect: LaunchApp) -> LaunchFailed | None:
        key = (effect.instance_id, effect.run)
        context = self._context
        arguments = context.allowed.arguments(effect.instance_id, effect.spec)
        command = shlex.join(arguments)
        app_log = context.log_of(effect.instance_id)
        try:
            output = app_log.open()
        except OSError as error:
            return LaunchFailed(*key, f"{app_log.path} cannot be written: {error.strerror}")
        app_log.say(f"run {effect.run}: {command}")
        try:
            child = subprocess.Popen(  # noqa: S603 # nosec B603 # a list of our own making: see `allowed`
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **environment.passed_on(),
                    **context.variables(effect.instance_id, effect.spec, context.run_of(key)),
                },
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            return LaunchFailed(*key, f"{arguments[0]} (control.programs) cannot be run: {reason}")
        finally:
            os.close(output)
        with contextlib.suppress(OSError):
            resource.prlimit(child.pid, resource.RLIMIT_CORE, (0, 0))
        try:
            group = groups.Group(child.pid, self._mark(key), reaped_here=True)
        except OSError as error:  # no descriptor is left: nobody could look after it
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            return LaunchFailed(*key, f"it could not be watched: {error.strerror}")
        identity = groups.identify(child.pid)
        if identity is not None:
            context.folder.save(PidFile(*key, command, child.pid, identity.start, identity.boot))
        running = _Running(key, group, app_log, child)
        self._add(running, Launched(*key, child.pid, None, str(app_log.path), command))
        return None

    def _add(self, running: _Running, launched: Launched | None) -> None:
        with self._lock:
            self._running[running.key] = running
            if self._context.closing.is_set():
                _send(running, signal.SIGKILL)
        if launched is not None:
            self._context.say(launched)
        self._new.append(running)  # from here on its end may be told
        os.eventfd_write(self._wake, 1)

    # --- after a restart of the server --------------------------------------------------------

    def adopt(self, apps: Sequence[App], entries: Sequence[PidFile]) -> None:
        """Watch those of `apps` that still run, tell the end of others, kill what nobody waits for."""
        wanted = {(app.instance_id, app.run): app for app in apps}
        recorded = {(entry.instance_id, entry.run) for entry in entries}
        lost = [entry for entry in self._unrecorded() if (entry.instance_id, entry.run) not in recorded]
        for entry in [*entries, *lost]:
            key = (entry.instance_id, entry.run)
            app = wanted.get(key)
            group = None if key in self._running else self._find(entry)
            if group is not None and app is not None and app.process is not None:
                self._adopt(entry, group, known=app.process.host_pid == group.pid)
            elif key not in self._running:
                self._reap(key, group)
        for key in wanted.keys() - self._running.keys():
            self._context.exited(key, None)

    def _adopt(self, entry: PidFile, group: groups.Group, *, known: bool) -> None:
        key = (entry.instance_id, entry.run)
        self._context.folder.save(entry)
        app_log = self._context.log_of(entry.instance_id)
        app_log.say("adopted by a new server")
        launched = Launched(*key, group.pid, None, str(app_log.path), entry.command)
        self._add(_Running(key, group, app_log, None), None if known else launched)

    def _reap(self, key: Key, group: groups.Group | None) -> None:
        """Nobody waits for it, or only what it started is left."""
        if group is not None:
            log.warning("%s: nobody waits for process %d any more", key[0], group.pid)
            group.send(signal.SIGKILL)
            group.close()
        groups.kill_marked(self._mark(key))
        self._context.folder.remove(*key)

    def _mark(self, key: Key) -> str:
        return f"{environment.APP_RUN}={self._context.run_of(key)}"

    def _find(self, entry: PidFile) -> groups.Group | None:
        if entry.pid is None:
            return None
        identity = groups.Identity(entry.pid, entry.start, entry.boot)
        mark = self._mark((entry.instance_id, entry.run))
        return groups.find(identity, {f"{environment.APP_ID}={entry.instance_id}", mark}, mark)

    def _unrecorded(self) -> list[PidFile]:
        """Processes of this server without a file: it was killed in that moment, or the disk was full."""
        prefix = f"{environment.APP_RUN}={self._context.folder.name}:"
        found: list[PidFile] = []
        for pid, variable in groups.marked_leaders(prefix):
            instance_id, _, run = variable.removeprefix(prefix).rpartition("#")
            identity = groups.identify(pid)
            if identity is not None and run.isdigit():
                found.append(PidFile(instance_id, int(run), "", pid, identity.start, identity.boot))
        return sorted(found, key=lambda entry: entry.start)

    # --- watching -----------------------------------------------------------------------------

    def _watch(self) -> None:
        """The thread's outermost loop: whatever one step stumbles over, the others are done, and it again."""
        steps = (self._see_ends, self._take_new, self._tell_ends, self._cap_logs)
        with self._selector:
            while not (self._context.closing.is_set() and not self._running and not self._context.launching):
                failures = [failure for step in steps if (failure := self._failure_of(step)) is not None]
                self._failure = failures[0] if failures else None
                if failures:
                    time.sleep(_LOOK_SEC)

    def _failure_of(self, step: Callable[[], None]) -> str | None:
        try:
            step()
        except Exception as error:
            if self._failure is None:
                log.exception("apps cannot be watched as they must be")
            return f"apps cannot be watched as they must be: {type(error).__name__}: {error}"
        return None

    def _see_ends(self) -> None:
        for found, _ in self._selector.select(_LOOK_SEC):
            if found.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
            else:
                self._selector.unregister(found.fd)
                self._ended.append(found.data)
                self._end(found.data)

    def _take_new(self) -> None:
        failure = None
        for _ in range(len(self._new)):
            new = self._new[0]
            try:
                self._selector.register(new.group.descriptor, selectors.EVENT_READ, new)
            except Exception as error:
                failure = error
                self._new.rotate(-1)  # the others are watched, and it is tried again
            else:
                self._new.popleft()
        if failure is not None:
            raise failure

    def _end(self, running: _Running) -> None:
        """Its leader has ended: so must all that it left."""
        with self._lock:
            running.over = True
        try:
            running.group.end()
        except OSError as error:
            log.warning("%s: what it left cannot be killed: %s", running.key[0], error)
        finally:  # whatever it was: its end is told
            if running.child is not None:
                running.code = running.child.wait()
            running.group.close()
            running.tell_at = time.monotonic() + self._context.settle_sec

    def _tell_ends(self) -> None:
        """Those that are due."""
        now = time.monotonic()
        while self._ended and (self._ended[0].tell_at <= now or self._context.closing.is_set()):
            running = self._ended.popleft()
            with self._lock:
                del self._running[running.key]
            self._context.exited(running.key, running.code)

    def _cap_logs(self) -> None:
        with self._lock:
            logs = [running.log for running in self._running.values()]
        for app_log in logs:
            app_log.cap()


def _send(running: _Running, number: signal.Signals) -> None:
    try:
        running.group.send(number)
        if number is signal.SIGTERM:  # one that is stopped would not even see it
            running.group.send(signal.SIGCONT)
    except OSError as error:
        log.warning("%s cannot be signalled: %s", running.key[0], error)
