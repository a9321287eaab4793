"""A world around the state core: a launcher, apps that behave, connections that lose what is under way."""

import json
from collections.abc import Callable
from typing import Any

from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.effects import Answer, Close, Drop, LaunchApp, Publish, Save, Send, Signal
from siwatsystem.deepstream.events import ConnectionLost, Event, Exited, Launched, Received, TimePassed
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.messages import AppMessage, app_message, encode, server_message
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.states import AppState, FileState, Stage
from siwatsystem.deepstream.to_server import (
    FileDone,
)
from tests.deepstream.sim_app import SimApp

LIMITS = Limits(
    ready_sec=20,
    reconnect_sec=10,
    answer_sec=5,
    progress_sec=40,
    stop_sec=4,
    term_sec=3,
    kill_sec=2,
    restarts=3,
    restart_window_sec=100,
    push_window=2,
    kept_requests=6,
    answers=8,
    changes=50,
)
FINAL = ("done", "failed", "cancelled")


class World:
    """Everything outside the state core, and what it must hold to whatever happens."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.control = Control(limits, epoch="0")
        self.now = 1000.0
        self.lives = 0
        self.apps: list[SimApp] = []
        self.launches: list[LaunchApp] = []
        self.answers: dict[str, Answer] = {}
        self.store: dict[str, dict[str, Any]] = {"app": {}, "request": {}, "file": {}, "answer": {}}
        self.view = self._snapshot()
        self.told = self.control.changes.id(0)
        self.connections = 0
        self.spoken_done: set[tuple[int, int]] = set()
        """Camera and file of each file_done without an error that ever reached the server."""
        self.cancelled: set[str] = set()
        self.ends: dict[str, str] = {}
        """How each file ended."""

    # --- events -------------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Answer]:
        before = {place: [r.id for r in line] for place, line in self._lines().items()}
        effects = self.control.handle(event, self.now)
        answers = [self._do(effect) for effect in effects]
        self._check(before)
        return [answer for answer in answers if answer is not None]

    def _do(self, effect: Any) -> Answer | None:
        match effect:
            case Save():
                json.dumps(effect.record)
                if effect.kind == "file":
                    self._file_saved(effect)
                self.store[effect.kind][effect.key] = effect.record
            case Drop():
                del self.store[effect.kind][effect.key]
            case Send():
                app = self._app_of(effect.connection)
                if app is not None:
                    app.inbox.append(server_message(encode(effect.message)))
            case Close():
                app = self._app_of(effect.connection)
                if app is not None:
                    self._cut(app)
            case LaunchApp():
                self.launches.append(effect)
            case Signal():
                for app in self.apps:
                    if (app.instance_id, app.run) == (effect.instance_id, effect.run):
                        app.signalled = effect.signal
            case Answer():
                self.answers[effect.request_id] = effect
                return effect
            case Publish():
                assert effect.number == self.control.changes.number
            case _:
                raise AssertionError(effect)
        return None

    def _file_saved(self, effect: Save) -> None:
        """An end is told once, and never taken back: nothing is counted twice."""
        state = effect.record["state"]
        assert effect.key not in self.ends, f"{effect.key} ended twice"
        if state in FINAL:
            self.ends[effect.key] = state

    def _app_of(self, connection: int) -> SimApp | None:
        return next((app for app in self.apps if app.connection == connection), None)

    def say(self, app: SimApp, message: AppMessage) -> None:
        """It reaches the server."""
        assert app.connection is not None
        app.said.append(message)
        if isinstance(message, FileDone) and message.error is None:
            self.spoken_done.add((message.camera_id, message.file_id))
        self.handle(Received(app.connection, app_message(encode(message))))

    # --- the launcher and the network ---------------------------------------------------------

    def finish_launch(self, *, echo: bool = True, tells_frames: bool = True) -> SimApp:
        launch = self.launches.pop(0)
        spec: Spec = launch.spec
        streams = spec.streams_count or 2
        app = SimApp(launch.instance_id, launch.run, spec.config_path, streams, echo, tells_frames)
        self.apps.append(app)
        self.handle(Launched(launch.instance_id, launch.run, 1000 + launch.run))
        return app

    def connect(self, app: SimApp) -> None:
        self.connections += 1
        app.connection = self.connections
        ready = app.ready()
        app.ever_connected = True
        self.say(app, ready)

    def _cut(self, app: SimApp) -> None:
        app.connection = None
        app.inbox.clear()

    def lose(self, app: SimApp, lost: int = 0) -> None:
        """The connection breaks: what the server sent is gone, and `lost` of what the app says next."""
        connection = app.connection
        assert connection is not None
        self._cut(app)
        for _ in range(min(lost, len(app.out))):
            app.out.popleft()
        self.handle(ConnectionLost(connection))

    def die(self, app: SimApp, code: int | None = 1) -> None:
        self.apps.remove(app)
        if app.connection is not None:
            self.handle(ConnectionLost(app.connection))
        self.handle(Exited(app.instance_id, app.run, code, ("boom",)))

    def restart_server(self) -> None:
        """Killed and started: what is on the disk is all there is."""
        state = json.loads(json.dumps({"version": 1, **self.store}))
        self.lives += 1
        for app in self.apps:
            self._cut(app)
        self.launches.clear()
        self.control = Control.rebuilt(state, self.now, self.limits, epoch=str(self.lives))
        assert self.control.changes.since(self.told) is None
        self.view = self._snapshot()
        self.told = self.control.changes.id(self.control.changes.number)
        assert self.control.export() == state
        alive = {(app.instance_id, app.run) for app in self.apps}
        for app in self.control.to_adopt():
            if (app.instance_id, app.run) not in alive:
                self.handle(Exited(app.instance_id, app.run, None))

    # --- what must hold -----------------------------------------------------------------------

    def _lines(self) -> dict[Any, list[Any]]:
        lines: dict[Any, list[Any]] = {
            (app.instance_id, slot.stream_id): list(slot.line)
            for app in self.control.apps()
            for slot in app.slots
        }
        lines["orphans"] = self.control.orphans()
        return lines

    def _snapshot(self) -> dict[str, dict[str, Any]]:
        found = self.control.snapshot()
        return {
            "app": {body["instance_id"]: body for body in found["apps"]},
            "slot": {f"{body['instance_id']}/{body['stream_id']}": body for body in found["slots"]},
            "request": {body["request_id"]: body for body in found["requests"]},
        }

    def _check(self, before: dict[Any, list[str]]) -> None:
        control = self.control
        for kind, kept in self.store.items():
            for key, record in control.export()[kind].items():
                assert record == kept.get(key), (kind, key)
        assert control.export() == {"version": 1, **self.store}
        self._check_view()
        lines = self._lines()
        waiting = [request.id for line in lines.values() for request in line]
        current = [s.current.id for app in control.apps() for s in app.slots if s.current is not None]
        known = {request.id: request for request in control.requests()}
        placed = waiting + current
        assert len(set(placed)) == len(placed), "in two places"
        assert set(placed) == {id for id, request in known.items() if request.stage is not Stage.OVER}
        for request in known.values():
            self._check_request(request)
        for app in control.apps():
            for slot in app.slots:
                here = [*slot.line, *([] if slot.current is None else [slot.current])]
                assert slot.load == sum(request.unfinished + 1 for request in here)
            waits = [request for slot in app.slots for request in slot.line]
            waits += [one for one in control.orphans() if (one.wanted_stream or 0) < len(app.slots)]
            if app.takes_work and waits:
                assert any(slot.current is not None for slot in app.slots), "it could work and does not"
            if app.state in (AppState.BACKOFF, AppState.CRASHED, AppState.EXITED):
                assert all(slot.current is None for slot in app.slots)
                assert app.connection is None
        for place, line in lines.items():
            ids = [request.id for request in line]
            old = [id for id in before.get(place, []) if id in ids]
            if not self.reordered and place != "orphans":
                assert [id for id in ids if id in old] == old, "the order of a line changed by itself"

    reordered = False

    def _check_view(self) -> None:
        """Whoever follows the changes sees what a new snapshot shows."""
        changes = self.control.changes.since(self.told)
        fresh = self._snapshot()
        if changes is None:
            self.view = fresh
        for change in changes or ():
            if change.kind == "file":
                continue
            if change.value is None:
                del self.view[change.kind][change.key]
            else:
                self.view[change.kind][change.key] = change.value
        assert self.view == fresh
        self.told = self.control.changes.id(self.control.changes.number)

    def _check_request(self, request: Any) -> None:
        states = [file.state for file in request.files.values()]
        for state in FileState:
            assert request.tally[state] == states.count(state)
        assert states.count(FileState.PROCESSING) <= 1
        in_hand = {file.id for file in request.files.values() if file.state in ("given", "processing")}
        assert in_hand == set(request.given)
        if request.stage in (Stage.LINE, Stage.OVER):
            assert not request.given
        if request.stage is Stage.OVER:
            assert all(state in FINAL for state in states)
        for file in request.files.values():
            if file.state is FileState.DONE:
                assert (request.camera_id, file.id) in self.spoken_done
            if file.state is FileState.CANCELLED:
                assert request.id in self.cancelled
            assert (file.state in FINAL) == (f"{request.id}/{file.id}" in self.ends)

    # --- quiet --------------------------------------------------------------------------------

    def settle(self, bring_up: Callable[[], None], rounds: int = 3000) -> None:
        """No more trouble: everything must come to its end. `bring_up`: operators launch what is gone."""
        for _ in range(rounds):
            if all(request.stage is Stage.OVER for request in self.control.requests()):
                return
            if not self._settle_once():
                due = self.control.next_due()
                if due is None:
                    bring_up()
                    continue
                self.now = max(self.now, due)
                self.handle(TimePassed())
        raise AssertionError(self._stuck())

    def _stuck(self) -> str:
        left = [r for r in self.control.requests() if r.stage is not Stage.OVER]
        return f"stuck: {left} {self.control.apps()} {self.apps}"

    def _settle_once(self) -> bool:
        for app in list(self.apps):
            if app.signalled or (app.ending and not app.out):
                self.die(app, 0)
                return True
        if self.launches:
            self.finish_launch()
            return True
        for app in self.apps:
            if app.connection is None:
                known = self.control.app(app.instance_id)
                if known is None or known.run != app.run:
                    self.apps.remove(app)
                else:
                    self.connect(app)
                return True
            if app.inbox:
                app.read()
                return True
            if app.out:
                self.say(app, app.out.popleft())
                return True
        places = [(app, stream) for app in self.apps for stream in range(app.streams)]
        return any(app.work(stream) for app, stream in places)
