"""What every kind of launcher works with: what is allowed, where logs and pid files lie, whom to tell."""

import logging
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from siwatsystem.config import ControlSettings
from siwatsystem.deepstream import environment
from siwatsystem.deepstream.allowed import Allowed
from siwatsystem.deepstream.app_logs import AppLog, Page
from siwatsystem.deepstream.apps import App, Spec
from siwatsystem.deepstream.effects import LaunchApp, Signal
from siwatsystem.deepstream.events import Exited, Launched, LaunchFailed
from siwatsystem.deepstream.pid_files import PidFile, PidFolder

log = logging.getLogger(__name__)

TAIL_LINES = 50
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_THREADS = 4

Key = tuple[str, int]
"""Instance id and run."""
Tell = Callable[[Launched | LaunchFailed | Exited], object]
"""Takes news from any thread, and does not block."""
TokenOf = Callable[[str], str | None]
"""The token with which the app of an instance id may connect."""


class Kind(Protocol):
    """Where apps run. Nothing here raises; nothing but `adopt` and `close` blocks."""

    def launch(self, effect: LaunchApp) -> None: ...

    def signal(self, effect: Signal) -> bool:
        """False: there is no such process; it may be on its way (`LaunchContext.launching`)."""
        ...

    def adopt(self, apps: Sequence[App], entries: Sequence[PidFile]) -> None: ...

    def close(self, timeout_sec: float) -> None: ...


class LaunchContext:
    """Raises InvalidSetting for a folder of logs that cannot be used."""

    def __init__(
        self,
        settings: ControlSettings,
        server_url: str,
        data_dir: Path,
        tell: Tell,
        token_of: TokenOf,
        settle_sec: float,
        launch_threads: int = _THREADS,
    ) -> None:
        """`settle_sec`: from an end to its being told; what the app sent last is read meanwhile.
        `launch_threads`: how many launches may be under way at the same time."""
        self.settings = settings
        self.allowed = Allowed(settings, server_url)
        self.folder = PidFolder((data_dir / settings.app_logs).resolve())
        self._tell = tell
        self.settle_sec = settle_sec
        self.closing = threading.Event()
        self.launching: set[Key] = set()
        """What is on its way. The core repeats a signal to one of these once it is there."""
        self._server_url = server_url
        self._token_of = token_of
        self._launches = ThreadPoolExecutor(launch_threads, thread_name_prefix="app-launch")
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="app-work")

    def close(self) -> None:
        """The kinds are closed already."""
        self._launches.shutdown(wait=False, cancel_futures=True)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.folder.close()

    def begin(self, effect: LaunchApp, start: Callable[[LaunchApp], LaunchFailed | None]) -> None:
        """Have `start` launch it in another thread; disks and engines may be slow."""

        key = (effect.instance_id, effect.run)

        def work() -> None:
            try:
                failed = self._refused(effect) or start(effect)
            except Exception as error:  # whoever asked must hear of it
                log.exception("%s could not be launched", effect.instance_id)
                failed = LaunchFailed(*key, f"{type(error).__name__}: {error}")
            self.launching.discard(key)
            if failed is not None:
                self.say(failed)

        self.launching.add(key)
        try:
            self._launches.submit(work)
        except RuntimeError:  # closed
            self.launching.discard(key)

    def _refused(self, effect: LaunchApp) -> LaunchFailed | None:
        if self.closing.is_set():
            return LaunchFailed(effect.instance_id, effect.run, "the server ends")
        refused = self.allowed.refused(effect.spec)
        if refused is None:
            return None
        return LaunchFailed(effect.instance_id, effect.run, refused.reason, refused.status)

    def soon(self, work: Callable[[], object]) -> bool:
        """Do it in another thread; False: closed, it is not done any more."""
        try:
            self._pool.submit(work)
        except RuntimeError:
            return False
        return True

    def log_of(self, instance_id: str) -> AppLog:
        size = int(self.settings.app_log_mb * 1024 * 1024)
        return AppLog(self.folder.path, instance_id, size, self.settings.app_logs_kept)

    def page(self, process_id: str, lines: int, skip: int) -> Page:
        """Of its log; empty where there is none, and for what is no process id."""
        instance_id = process_id.removeprefix("proc_")
        if _INSTANCE.fullmatch(instance_id) is None:
            return Page()
        return self.log_of(instance_id).page(lines, skip)

    def forget(self, instance_id: str) -> None:
        """Delete its log, soon."""
        if _INSTANCE.fullmatch(instance_id) is not None:
            self.soon(self.log_of(instance_id).remove)

    def variables(self, instance_id: str, spec: Spec, run: str | None = None) -> dict[str, str]:
        token = self._token_of(instance_id)
        return environment.for_app(instance_id, spec.gpu_allocated, self._server_url, token, run)

    def run_of(self, key: Key) -> str:
        """What the environment of a local process says of its launch."""
        return f"{self.folder.name}:{key[0]}#{key[1]}"

    def exited(self, key: Key, code: int | None) -> None:
        """Tell its end, with what it wrote last; never raises."""
        lines: tuple[str, ...] = ()
        try:
            self.folder.remove(*key)
            lines = self.log_of(key[0]).page(TAIL_LINES).lines
        except Exception:  # its end must be told whatever its files look like
            log.exception("%s: its last lines cannot be read", key[0])
        self.say(Exited(*key, code, lines))

    def say(self, news: Launched | LaunchFailed | Exited) -> None:
        """Tell it; never raises."""
        try:
            self._tell(news)
        except Exception:  # whoever watches processes has more to do
            log.exception("%s: news that nobody took", news.instance_id)
