"""The control server's parts, put together: state on disk, driver, connections, launcher."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from siwatsystem.config import Settings
from siwatsystem.deepstream import capacity, garbage
from siwatsystem.deepstream.app_tokens import AppTokens
from siwatsystem.deepstream.connections import Connections
from siwatsystem.deepstream.driver import Driver
from siwatsystem.deepstream.events import Event, Register, Stop
from siwatsystem.deepstream.launcher import Launcher, LocalLauncher
from siwatsystem.deepstream.lifecycle import GOING_AWAY
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.looks import Looks
from siwatsystem.deepstream.media import Media
from siwatsystem.deepstream.ray_launcher import RayLauncher
from siwatsystem.deepstream.samples import Samples
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.snapshots import Snapshots
from siwatsystem.deepstream.store import Store
from siwatsystem.deepstream.to_app import QueryMetrics

log = logging.getLogger(__name__)

STATE_FILE = "control.sqlite"
METRICS_SEC = 10.0
"""Between two times that all apps are asked for their metrics."""
LOOKS = 4
LOOK_SEC = 20.0
"""For looking at what a client names; a network drive that is away would take for ever."""
SENT_SEC = 1.0
"""For what was sent last, when the server goes away."""


MakeLauncher = Callable[[Settings, Callable[[Event], None]], Launcher]


class Service:
    """Made on the event loop. `limits`: others than the settings', for tests."""

    def __init__(
        self,
        settings: Settings,
        make_launcher: MakeLauncher,
        samples: Samples,
        tokens: AppTokens,
        limits: Limits | None = None,
    ) -> None:
        self.settings = settings
        self.samples = samples
        self.media = Media(settings.control.media_folders)
        self.media_looks = Looks(LOOKS, LOOK_SEC)
        self.config_looks = Looks(LOOKS, LOOK_SEC)
        self.connections = Connections(settings.websocket)
        self.closing = False
        self._helpers: list[asyncio.Task[None]] = []
        self.followers = 0
        self.snapshots = Snapshots()
        self._store = Store(settings.data_dir / STATE_FILE)
        self._limits = limits or capacity.limits(settings.control)
        self._state = self._store.load()
        self.launcher = make_launcher(settings, self.tell)
        started = time.time()
        self._tokens = tokens
        self.driver = Driver(
            self._rebuilt(started),
            self._store,
            self.launcher,
            self.connections,
            started=started,
            over=tokens.end,
        )

    @property
    def control(self) -> Control:
        return self.driver.control

    @property
    def problems(self) -> list[str]:
        """What is wrong with the server itself, where it launches apps, and with those."""
        own = [problem for problem in (self._store.problem, self.launcher.problem) if problem]
        return own + self.control.stranded()

    def tell(self, event: Event) -> None:
        """News of the launcher, from any thread."""
        self.driver.tell(event)

    def _rebuilt(self, now: float) -> Control:
        room, epoch = capacity.capacity(self.settings.control), secrets.token_hex(4)
        try:
            return Control.rebuilt(self._state, now, self._limits, room, epoch)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            version = self._state.get("version")
            log.exception("the state's records (version %s) are none", version)
            empty = self._store.begin_anew(f"its records cannot be read: {error!r}")
            return Control.rebuilt(empty, now, self._limits, room, epoch)

    async def start(self) -> None:
        """Go on with what the disk knows; look for the apps that lived."""
        if self._store.moved is not None:
            log.error("the state was damaged and is empty now; the old one is in %s", self._store.moved)
        self._state = {}
        adopted = self.control.to_adopt()
        for instance_id in set(self._tokens.instances) - {app.instance_id for app in adopted}:
            self._tokens.end(instance_id)
        await asyncio.to_thread(self.launcher.adopt, adopted)
        # Not before: a signal to an app that the launcher has not found yet would be answered by its end.
        self.driver.start()
        self._helpers = [
            asyncio.create_task(self._ask_metrics(), name="control-metrics"),
            asyncio.create_task(garbage.seldom(), name="control-garbage"),
        ]
        for instance_id, spec in self.samples.instances:
            known = self.control.app(instance_id)
            if known is None or (known.process is None and known.spec != spec):
                await self.driver.ask(Register(f"register:{secrets.token_hex(8)}", instance_id, spec))

    async def _ask_metrics(self) -> None:
        """Past the state core: the answer needs nobody who waits for it, and no place among the answers."""
        while True:
            await asyncio.sleep(METRICS_SEC)
            for app in self.control.apps():
                if app.connection is not None:
                    self.connections.send(app.connection, QueryMetrics())

    async def end(self) -> None:
        """The server was told to end: no new work, and every app is asked to end, and made to."""
        if self.closing:
            return
        self.closing = True
        await self.driver.ask(Stop(f"stop:{secrets.token_hex(8)}"))
        limits = self._limits
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.stop_sec + limits.term_sec + limits.kill_sec + SENT_SEC):
                while not self.control.ended:
                    await self.driver.changed(1.0)
        self.connections.close_all(GOING_AWAY, "the control server goes away")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SENT_SEC):
                await self.connections.closed()

    async def stop(self) -> None:
        """After `end`: nothing is served any more."""
        await self.end()
        for helper in self._helpers:
            helper.cancel()
        await asyncio.to_thread(self.launcher.close)
        await self.driver.stop()


def sample_file(settings: Settings, *, test_routes: bool) -> Path | None:
    """Where the samples are, if there are any."""
    chosen = settings.control.sample_data
    if chosen is not None:
        return chosen
    beside = Path("sample_data.json")
    return beside if test_routes and beside.is_file() else None


def check_samples(settings: Settings, *, test_routes: bool) -> Samples:
    """The samples; none where there is no file. Raises InvalidSetting."""
    path = sample_file(settings, test_routes=test_routes)
    return Samples({}) if path is None else Samples.read(path)


def configured_launcher(settings: Settings, tell: Callable[[Event], None], tokens: AppTokens) -> Launcher:
    """Apps on this machine, or on a cluster. Raises InvalidSetting."""
    launcher = RayLauncher if settings.control.launcher == "ray" else LocalLauncher
    return launcher(
        settings.control,
        server_url(settings),
        tell,
        data_dir=settings.data_dir,
        token_of=lambda instance_id: token_of(settings, tokens, instance_id),
    )


def token_of(settings: Settings, tokens: AppTokens, instance_id: str) -> str | None:
    """A new token for an app that is about to be launched; None where the server asks for none."""
    return None if settings.control_token is None else tokens.issue(instance_id)


def server_url(settings: Settings) -> str:
    """Where apps connect to."""
    control = settings.control
    if control.server_url is not None:
        return control.server_url
    host = {None: "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(control.host, control.host)  # noqa: S104 # nosec B104 # not listened on
    return (
        f"ws://[{host}]:{control.port}/deepstream/ws"
        if ":" in str(host)
        else f"ws://{host}:{control.port}/deepstream/ws"
    )
