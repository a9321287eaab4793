"""Launches apps: each where its spec says, in a container or as a local process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from siwatsystem.config import ControlSettings
from siwatsystem.deepstream.admission import Refused
from siwatsystem.deepstream.app_logs import Page
from siwatsystem.deepstream.apps import App, Spec
from siwatsystem.deepstream.effects import LaunchApp, Signal
from siwatsystem.deepstream.launch_context import Kind, LaunchContext, Tell, TokenOf

_CLOSE_SEC = 5.0


class Launcher(Protocol):
    """Tells `Launched`, `LaunchFailed` and `Exited` through what it was given, from threads of its own."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be launched now, or what is launched not be watched; None while all is well."""
        ...

    def refused(self, spec: Spec) -> Refused | None:
        """Why this must not be launched: config folders, programs, containers. Looks at the disk."""
        ...

    def launch(self, effect: LaunchApp) -> None:
        """Returns at once; `Launched` or `LaunchFailed` follows."""
        ...

    def signal(self, effect: Signal) -> None:
        """Returns at once; for a process that is not there `Exited` follows, as at each end."""
        ...

    def adopt(self, apps: Sequence[App]) -> None:
        """Once, before anything else: `Control.to_adopt()` after a restart. Those that run are watched
        (`Launched` where the records did not know the process yet), of the others `Exited` is told, and
        processes of this server that nobody waits for are killed. Blocks for a moment."""
        ...

    def logs(self, process_id: str, lines: int = 100, skip: int = 0) -> Page:
        """The last `lines` (1–1000) before the last `skip`; empty where nothing was logged. Reads files."""
        ...

    def forget(self, instance_id: str) -> None:
        """Delete the log of one that was cleaned up (`Drop("app", …)`)."""
        ...

    def close(self) -> None:
        """Kill what still runs, and end. Blocks for a few seconds at most."""
        ...


class LocalLauncher:
    """On this machine: processes, and containers of its Docker engine.

    `tell` takes news from any thread and does not block. Raises InvalidSetting for a folder of logs that
    cannot be used.
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
        from siwatsystem.deepstream.docker_exec import DockerExec
        from siwatsystem.deepstream.processes import Processes

        self._context = LaunchContext(settings, server_url, data_dir, tell, token_of, settle_sec)
        self._processes = Processes(self._context)
        self._containers = DockerExec(self._context)
        self._kinds: tuple[Kind, ...] = (self._processes, self._containers)

    @property
    def problem(self) -> str | None:
        return self._processes.problem

    def refused(self, spec: Spec) -> Refused | None:
        return self._context.allowed.refused(spec)

    def launch(self, effect: LaunchApp) -> None:
        kind = self._processes if effect.spec.docker_container is None else self._containers
        kind.launch(effect)

    def signal(self, effect: Signal) -> None:
        # First: one that comes to be in between is then known to its kind. Of one that is on its way the core
        # says it again once it is there.
        coming = (effect.instance_id, effect.run) in self._context.launching
        if not any(kind.signal(effect) for kind in self._kinds) and not coming:
            self._context.soon(lambda: self._context.exited((effect.instance_id, effect.run), None))

    def adopt(self, apps: Sequence[App]) -> None:
        entries = self._context.folder.load()
        for kind, inside in ((self._processes, False), (self._containers, True)):
            kind.adopt(
                [app for app in apps if (app.spec.docker_container is not None) is inside],
                [entry for entry in entries if (entry.container is not None) is inside],
            )

    def logs(self, process_id: str, lines: int = 100, skip: int = 0) -> Page:
        return self._context.page(process_id, lines, skip)

    def forget(self, instance_id: str) -> None:
        self._context.forget(instance_id)

    def close(self) -> None:
        self._context.closing.set()
        for kind in self._kinds:
            kind.close(_CLOSE_SEC)
        self._context.close()
