"""The control server's state core: events in → effects out. Pure: no clock, no I/O.

`Control.handle` takes what happened (`events`) and the time, and gives what is to be done (`effects`), in
that order. `now` is in seconds and must be comparable after a restart of the server: the wall clock at
start, plus what a monotonic clock says since. Everything else is a question that changes nothing.
"""

from typing import Any

from siwatsystem.deepstream import rebuilding, wire_states
from siwatsystem.deepstream.admission import Capacity
from siwatsystem.deepstream.apps import App
from siwatsystem.deepstream.changes import Changes
from siwatsystem.deepstream.dialogue import Dialogue
from siwatsystem.deepstream.effects import Close, Effect
from siwatsystem.deepstream.endings import Endings
from siwatsystem.deepstream.events import (
    ConnectionLost,
    Event,
    Exited,
    Launched,
    LaunchFailed,
    Received,
    TimePassed,
)
from siwatsystem.deepstream.handshake import Handshake
from siwatsystem.deepstream.ledger import Ledger
from siwatsystem.deepstream.lifecycle import POLICY_VIOLATION, Lifecycle
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.orders import Orders
from siwatsystem.deepstream.placing import Placing
from siwatsystem.deepstream.progress import Progress
from siwatsystem.deepstream.requests import Request
from siwatsystem.deepstream.states import LIVE, AppState, Stage
from siwatsystem.deepstream.synchronising import Synchronising
from siwatsystem.deepstream.to_server import AppReady


class Control:
    """`epoch` tells this life of the server from others, for clients that follow changes."""

    def __init__(
        self, limits: Limits | None = None, capacity: Capacity | None = None, epoch: str = "0"
    ) -> None:
        self._ledger = Ledger(limits or Limits(), capacity or Capacity(), epoch)
        self._placing = Placing(self._ledger)
        self._endings = Endings(self._ledger)
        self._sync = Synchronising(self._ledger, self._placing, self._endings)
        self._lifecycle = Lifecycle(self._ledger, self._placing, self._endings)
        self._progress = Progress(self._ledger, self._placing, self._lifecycle, self._sync)
        self._handshake = Handshake(self._ledger, self._placing, self._lifecycle, self._sync)
        self._dialogue = Dialogue(self._ledger, self._placing, self._endings, self._lifecycle, self._sync)
        self._orders = Orders(self._ledger, self._placing, self._endings, self._lifecycle)

    @classmethod
    def rebuilt(
        cls,
        state: dict[str, Any],
        now: float,
        limits: Limits | None = None,
        capacity: Capacity | None = None,
        epoch: str = "0",
    ) -> "Control":
        """As `export` left it. Apps that lived are awaited; `to_adopt` says whose processes to look for."""
        control = cls(limits, capacity, epoch)
        control._ledger.now = now
        rebuilding.rebuild(control._ledger, state)
        return control

    def handle(self, event: Event, now: float) -> list[Effect]:
        """What is to be done about it, in order."""
        self._ledger.now = max(now, self._ledger.now)
        match event:
            case Received():
                self._received(event)
            case ConnectionLost():
                app = self._ledger.connections.get(event.connection)
                if app is not None:
                    self._lifecycle.lost(app)
            case Launched():
                self._lifecycle.launched(event)
            case LaunchFailed():
                self._lifecycle.launch_failed(event)
            case Exited():
                self._lifecycle.exited(event)
            case TimePassed():
                self._time_passed()
            case _:
                self._orders.handle(event)
        return self._ledger.flush()

    def next_due(self) -> float | None:
        """When `TimePassed` is due at the latest; it may change with every event."""
        return self._ledger.deadlines.next()

    def _received(self, event: Received) -> None:
        if isinstance(event.message, AppReady):
            self._handshake.ready(event.connection, event.message)
            return
        app = self._ledger.connections.get(event.connection)
        if app is None:
            self._ledger.do(Close(event.connection, POLICY_VIOLATION, "app_ready comes first"))
            return
        self._dialogue.receive(app, event.message)

    def _time_passed(self) -> None:
        while (key := self._ledger.deadlines.pop(self._ledger.now)) is not None:
            app = self._ledger.apps.get(key[0])
            if app is None:
                continue
            if len(key) == 1:
                self._lifecycle.due(app)
            elif len(key) == 3:
                self._placing.trial_due(app, app.slots[key[1]])
            else:
                self._slot_due(app, key[1])

    def _slot_due(self, app: App, stream_id: int) -> None:
        slot = app.slots[stream_id]
        request = slot.current
        if request is None:
            return
        if request.stage is Stage.ACCEPTED and (request.unfinished or not request.end_told):
            self._progress.due(app, slot, request)
            return
        if request.stage is Stage.ACCEPTED:  # all files were done, and the app says nothing more
            self._endings.finish(app, slot)
            self._placing.feed(app, slot)
            return
        asked = "start_analysis" if request.stage is Stage.ASKED else "interrupt_analysis"
        self._lifecycle.distrust(app, f"it did not answer {asked}")

    # --- questions ----------------------------------------------------------------------------

    @property
    def changes(self) -> Changes:
        return self._ledger.changes

    @property
    def ended(self) -> bool:
        """After Stop: whether every app has ended."""
        return self._ledger.closing and not any(app.state in LIVE for app in self._ledger.apps.values())

    def app(self, instance_id: str) -> App | None:
        return self._ledger.apps.get(instance_id)

    def app_of_process(self, process_id: str) -> App | None:
        apps = self._ledger.apps.values()
        return next((app for app in apps if app.process is not None and app.process.id == process_id), None)

    def apps(self) -> list[App]:
        return list(self._ledger.apps.values())

    def request(self, request_id: str) -> Request | None:
        return self._ledger.requests.get(request_id)

    def knows(self, command_id: str) -> bool:
        """Whether the command was carried out, or is about to be: sent again it changes nothing."""
        return self._orders.knows(command_id)

    def requests(self) -> list[Request]:
        """All that are known, those that ended too."""
        return list(self._ledger.requests.values())

    def stranded(self) -> list[str]:
        """For people: apps that are given up, and what waits for one to be launched."""
        apps = self._ledger.apps.values()
        given_up = [app for app in apps if app.state is AppState.CRASHED]
        told = [f"{app.instance_id} has crashed: {app.reason}" for app in given_up]
        for app in apps:
            waiting = sum(len(slot.line) for slot in app.slots)
            if waiting and app.state not in LIVE:
                told.append(f"{app.instance_id} is not launched: requests that wait for it: {waiting}")
        orphans = sum(len(line) for line in self._ledger.orphans.values())
        if orphans and not any(app.state in LIVE for app in apps):
            told.append(f"no app is launched: requests that wait for any: {orphans}")
        return told

    def orphans(self) -> list[Request]:
        """Requests whose app is gone and that any slot may take, the soonest first."""
        lines = self._ledger.orphans.values()
        return sorted((request for line in lines for request in line), key=lambda request: request.order)

    def position(self, request: Request) -> int | None:
        """In its line, from 1; None where it does not wait in one."""
        return self._orders.position(request)

    def to_adopt(self) -> list[App]:
        """Launched apps that have lived and are not connected: does their process still run?"""
        return [
            app
            for app in self._ledger.apps.values()
            if app.process is not None
            and app.connection is None
            and app.state in (AppState.STARTING, AppState.RUNNING, AppState.STOPPING)
        ]

    def snapshot(self) -> dict[str, Any]:
        """Everything that changes tell of, but for files: `id` is where to go on from."""
        return {
            "id": self.changes.id(self.changes.number),
            "apps": [wire_states.followed(app) for app in self.apps()],
            "slots": [wire_states.slot(app, slot) for app in self.apps() for slot in app.slots],
            "requests": [wire_states.request(request) for request in self.requests()],
        }

    def export(self) -> dict[str, Any]:
        """Every record: the same that all Saves and Drops come to."""
        return self._ledger.export()
