"""Apps on a Ray cluster: each an actor, named after its launch, that outlives this server."""

import contextlib
import importlib.util
import logging
import os
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from siwatsystem.config import ControlSettings
from siwatsystem.deepstream import environment
from siwatsystem.deepstream.admission import Refused
from siwatsystem.deepstream.app_logs import AppLog, Page
from siwatsystem.deepstream.apps import App, Spec
from siwatsystem.deepstream.effects import LaunchApp, Signal
from siwatsystem.deepstream.events import Launched, LaunchFailed
from siwatsystem.deepstream.launch_context import Key, LaunchContext, Tell, TokenOf
from siwatsystem.deepstream.ray_link import RayLink, Unreachable
from siwatsystem.deepstream.ray_room import never, room
from siwatsystem.errors import InvalidSetting

log = logging.getLogger(__name__)

_LAUNCH_SEC = 40.0
"""For a node to take an app and start it."""
_REACH_SEC = 30.0
"""How long a launch waits for a cluster that is away just now: to fail at once would cost its restarts."""
_ADOPT_SEC = 10.0
"""How long a start waits for the cluster; apps are adopted once it answers."""
_CLOSE_SEC = 5.0
_REACH_LOOK_SEC = 0.2


@dataclass(eq=False, slots=True)
class _Running:
    key: Key
    log: AppLog
    pid: int | None
    command: str = ""
    offset: int = 0
    """How much of what it has written is in the log here."""
    signalled: str | None = None
    """Sent again after a connection was lost."""
    over: bool = False

    @property
    def name(self) -> str:
        return name_of(self.key)


class RayLauncher:
    """Launches apps on the nodes of a cluster, and keeps what they write here. See `launcher.Launcher`.

    Raises InvalidSetting: Ray is not installed, or a setting that it needs is not given or bad.
    """

    def __init__(
        self,
        settings: ControlSettings,
        server_url: str,
        tell: Tell,
        *,
        data_dir: Path = Path(),
        token_of: TokenOf = lambda instance_id: None,
        settle_sec: float = 1.0,
    ) -> None:
        address, token_file = check(settings)
        self._settings = settings
        # Each waits for a node with room.
        self._context = LaunchContext(
            settings, server_url, data_dir, tell, token_of, settle_sec, launch_threads=settings.max_apps
        )
        self._lock = threading.Lock()
        self._running: dict[Key, _Running] = {}
        self._link = RayLink(address, token_file, settings.ray_namespace, self._hear, self._connected)

    @property
    def problem(self) -> str | None:
        return self._link.problem

    def refused(self, spec: Spec) -> Refused | None:
        """Also what the cluster has no room for, and 503 while it does not answer."""
        if spec.docker_container is not None:
            return Refused(422, "docker_container: control.launcher = 'ray' launches no containers")
        if not Path(spec.config_path).is_absolute():
            return Refused(422, "config_path: must be absolute with control.launcher = 'ray'")
        refused = self._context.allowed.refused(spec)
        if refused is not None:
            return refused
        if self._link.problem is not None:
            return Refused(503, self._link.problem)
        return room(spec, self._link.nodes, self._settings.ray_cpus, self._settings.slots_per_gpu)

    def launch(self, effect: LaunchApp) -> None:
        self._context.begin(effect, self._start)

    def signal(self, effect: Signal) -> None:
        key = (effect.instance_id, effect.run)
        with self._lock:
            running = self._running.get(key)
            if running is not None:
                running.signalled = effect.signal
        if running is not None:
            self._link.say("signal", name=running.name, signal=effect.signal)
        elif key not in self._context.launching:  # of one that is, the core says it again
            self._context.soon(lambda: self._context.exited(key, None))

    def adopt(self, apps: Sequence[App]) -> None:
        for app in apps:
            key = (app.instance_id, app.run)
            process = app.process
            if process is not None:
                running = _Running(key, self._context.log_of(key[0]), process.host_pid, process.command)
                self._running[key] = running
                running.log.say("looked for by a new server: it tells again what it has kept")
        self._link.start()
        self._link.up.wait(_ADOPT_SEC)

    def logs(self, process_id: str, lines: int = 100, skip: int = 0) -> Page:
        return self._context.page(process_id, lines, skip)

    def forget(self, instance_id: str) -> None:
        self._context.forget(instance_id)

    def close(self) -> None:
        self._context.closing.set()
        with self._lock:
            running = list(self._running.values())
        for each in running:
            self._link.say("signal", name=each.name, signal="KILL")
        for key in list(self._context.launching):
            self._link.say("end", name=name_of(key))
        end = time.monotonic() + _CLOSE_SEC
        while self._busy and self._link.up.is_set() and time.monotonic() < end:
            time.sleep(0.02)
        for each in list(self._running.values()):
            log.error("%s: its end was not seen", each.name)
        self._link.close()
        self._context.close()

    @property
    def _busy(self) -> bool:
        # In this order: what is launched stands among what runs before it is no longer on its way.
        return bool(self._context.launching) or bool(self._running)

    # --- launching ----------------------------------------------------------------------------

    def _start(self, effect: LaunchApp) -> LaunchFailed | None:
        key = (effect.instance_id, effect.run)
        context, spec, cpus = self._context, effect.spec, self._settings.ray_cpus
        try:
            self._reach()
            refused = never(spec, self._link.nodes, cpus, self._settings.slots_per_gpu)
            if refused is not None:
                return LaunchFailed(*key, refused.reason, refused.status)
            arguments = context.allowed.arguments(effect.instance_id, spec)
            run = f"ray:{self._settings.ray_namespace}:{name_of(key)}"
            answer = self._link.ask(
                "launch",
                _LAUNCH_SEC + 5,
                name=name_of(key),
                gpus=len(spec.gpu_allocated),
                cpus=cpus,
                arguments=["" if arguments[0] == sys.executable else arguments[0], *arguments[1:]],
                # Which GPUs those are is known on the node.
                variables=context.variables(effect.instance_id, replace(spec, gpu_allocated=()), run),
                mark=f"{environment.APP_RUN}={run}",
                launch_sec=_LAUNCH_SEC,
            )
        except Unreachable as error:
            self._link.say("end", name=name_of(key))  # where it was asked for, but too late
            return LaunchFailed(*key, str(error))
        if answer.get("error") is not None:
            return LaunchFailed(*key, f"{arguments[0]} cannot be run on the cluster: {answer['error']}")
        command = f"{answer['host']}: {shlex.join(arguments)}"
        running = _Running(key, context.log_of(effect.instance_id), answer["pid"], command)
        running.log.say(f"run {effect.run} on node {answer['node']} of {command}")
        with self._lock:
            self._running[key] = running
            unwanted = context.closing.is_set()
        self._say_launched(running)  # a signal may come at once
        self._link.say("watch", name=running.name, offset=0)
        if unwanted:
            self._link.say("signal", name=running.name, signal="KILL")
        return None

    def _reach(self) -> None:
        """Wait for the cluster. Raises Unreachable."""
        end = time.monotonic() + _REACH_SEC
        while (problem := self._link.problem) is not None:
            if self._context.closing.is_set() or time.monotonic() >= end:
                raise Unreachable(problem)
            self._link.up.wait(_REACH_LOOK_SEC)

    def _say_launched(self, running: _Running) -> None:
        path = str(running.log.path)
        self._context.say(Launched(*running.key, running.pid, None, path, running.command))

    def _watch(self, running: _Running) -> None:
        self._link.say("watch", name=running.name, offset=running.offset)
        if running.signalled is not None:
            self._link.say("signal", name=running.name, signal=running.signalled)

    # --- what the cluster tells ---------------------------------------------------------------

    def _connected(self) -> None:
        """Also after a connection was lost: what went on meanwhile is asked for."""
        with self._lock:
            running = list(self._running.values())
        self._context.soon(self._sweep)
        for each in running:
            self._watch(each)

    def _sweep(self) -> None:
        """End the actors that nobody waits for, as is known once they are named."""
        with contextlib.suppress(Unreachable):
            for name in self._link.ask("names", _LAUNCH_SEC).get("names", ()):
                if not self._is_waited_for(name):
                    log.warning("%s: nobody waits for its actor any more", name)
                    self._link.say("end", name=name)

    def _is_waited_for(self, name: str) -> bool:
        # In this order: see `_busy`.
        if name in map(name_of, list(self._context.launching)):
            return True
        with self._lock:
            return name in (running.name for running in self._running.values())

    def _hear(self, news: dict[str, Any]) -> None:
        with self._lock:
            running = next((one for one in self._running.values() if one.name == news["name"]), None)
        if running is None or running.over:
            return
        match news["event"]:
            case "found":
                self._found(running, news)
            case "news":
                output = news["output"].encode("latin-1")
                if news["offset"] - len(output) - news["lost"] != running.offset:
                    return  # asked for twice, around a new connection
                _append(running, output, news["lost"])
                running.offset = news["offset"]
                if news["ended"]:
                    self._ended(running, news["code"])
            case _:
                running.log.say(f"lost: {news['reason']}")
                self._ended(running, None)

    def _found(self, running: _Running, news: dict[str, Any]) -> None:
        if news.get("pid") is None:  # its launch was cut short
            self._link.say("end", name=running.name)
        elif news["pid"] != running.pid:
            running.pid = news["pid"]
            running.command = running.command or f"{news['host']}: (adopted)"
            self._say_launched(running)

    def _ended(self, running: _Running, code: int | None) -> None:
        running.over = True
        settle = 0.0 if self._context.closing.is_set() else self._context.settle_sec
        timer = threading.Timer(settle, self._tell_end, (running, code))
        timer.daemon = True
        timer.start()

    def _tell_end(self, running: _Running, code: int | None) -> None:
        with self._lock:
            del self._running[running.key]
        self._context.exited(running.key, code)


def name_of(key: Key) -> str:
    """The name of its actor."""
    return f"{key[0]}#{key[1]}"


def check(settings: ControlSettings) -> tuple[str, Path]:
    """The cluster's address and the file of its token. Raises InvalidSetting."""
    if importlib.util.find_spec("ray") is None:
        raise InvalidSetting("control.launcher = 'ray': Ray is not installed (pip install '.[ray]')")
    if settings.ray_address is None:
        raise InvalidSetting("control.launcher = 'ray' needs control.ray_address, as 'head.example:6379'")
    if settings.server_url is None:
        raise InvalidSetting(
            "control.launcher = 'ray' needs control.server_url: apps on other machines connect there"
        )
    path = settings.ray_token_file
    if path is None:
        raise InvalidSetting("control.launcher = 'ray' needs control.ray_token_file: the cluster's token")
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InvalidSetting(f"control.ray_token_file = {str(path)!r}: {reason}") from None
    if not text:
        raise InvalidSetting(f"control.ray_token_file = {str(path)!r}: holds no token")
    return settings.ray_address, path


def _append(running: _Running, output: bytes, lost: int) -> None:
    """To its log here; never raises."""
    if lost:
        running.log.say(f"{lost} bytes are not kept any more")
    if not output:
        return
    try:
        descriptor = running.log.open()
        try:
            os.write(descriptor, output)
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("%s is not written: %s", running.log.path, error)
    running.log.cap()
