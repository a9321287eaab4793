"""A launcher with real processes, and what it tells."""

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from siwatsystem.config import ControlSettings
from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.effects import LaunchApp, Signal
from siwatsystem.deepstream.events import Exited, Launched, LaunchFailed
from siwatsystem.deepstream.launcher import LocalLauncher

SERVER = "ws://127.0.0.1:18000/deepstream/ws"
PATIENCE_SEC = 30.0

News = Launched | LaunchFailed | Exited


class Told:
    """What a launcher tells, in order."""

    def __init__(self) -> None:
        self._news: queue.Queue[News] = queue.Queue()

    def __call__(self, news: News) -> None:
        self._news.put(news)

    def next(self) -> News:
        return self._news.get(timeout=PATIENCE_SEC)

    def launched(self) -> Launched:
        news = self.next()
        assert isinstance(news, Launched), news
        return news

    def failed(self) -> LaunchFailed:
        news = self.next()
        assert isinstance(news, LaunchFailed), news
        return news

    def exited(self) -> Exited:
        news = self.next()
        assert isinstance(news, Exited), news
        return news

    @property
    def silent(self) -> bool:
        return self._news.empty()


class Bench:
    """A folder of configs, of which each is a script that `program` runs, and a launcher."""

    def __init__(self, folder: Path, program: list[str], settle_sec: float = 0.0, **settings: Any) -> None:
        self.folder = folder
        self.configs = folder / "configs"
        self.configs.mkdir(exist_ok=True)
        self.told = Told()
        values: dict[str, Any] = {
            "config_folders": [self.configs],
            "programs": {"*": program},
            "app_logs": folder / "logs",
            **settings,
        }
        self.settings = ControlSettings(**values)
        self.launcher = LocalLauncher(
            self.settings, SERVER, self.told, token_of=lambda name: f"token-of-{name}", settle_sec=settle_sec
        )

    def config(self, text: str, name: str = "app.py") -> str:
        path = self.configs / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def launch(self, script: str, instance_id: str = "one", run: int = 1, **spec: Any) -> None:
        self.launcher.launch(
            LaunchApp(instance_id, run, Spec(self.config(script, f"{instance_id}.py"), **spec))
        )

    def signal(self, name: Any, instance_id: str = "one", run: int = 1) -> None:
        self.launcher.signal(Signal(instance_id, run, name))

    def lines(self, instance_id: str = "one", lines: int = 1000) -> tuple[str, ...]:
        return self.launcher.logs(f"proc_{instance_id}", lines).lines


@contextmanager
def bench(folder: Path, program: list[str], **settings: Any) -> Iterator[Bench]:
    made = Bench(folder, program, **settings)
    try:
        yield made
    finally:
        made.launcher.close()


def eventually(true: Callable[[], Any], what: str = "it") -> Any:
    end = time.monotonic() + PATIENCE_SEC
    while not (found := true()):
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.02)
    return found


def gone(pid: int) -> bool:
    """Ended; what is left of it may not be reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
