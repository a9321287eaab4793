"""The whole protocol against a plain model of what must hold: who holds what, what each report lists, what is
told once and to whom, what runs, and that nothing is left.

Worker, conversations, subscriptions, displays, patches and queues are real, and wired as they ship; sources
and pipelines are the fakes that ship, and the clock is the machine's own.
"""

import asyncio
import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from siwatsystem import connections, worker
from siwatsystem.config import Settings
from siwatsystem.connections import Connection
from siwatsystem.delivery import QueuedDetection
from siwatsystem.errors import StreamUnreachable
from siwatsystem.messages import ImageDetection, encode
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.testing import FakeModel, FakeOpener, FakeSourcePool, fake_pipeline, until
from siwatsystem.worker import Worker
from tests.fuzz.wire import validators

GRACE = 10.0
MOST = 2
NAMES = st.sampled_from(["d1;c1", "d1;c2", "d2;c1", "cam"])
CAMERAS = st.sampled_from("abc")
SESSIONS = st.sampled_from([None, 5, "5", "visit", 0])
DISPLAYS = ("d1", "d2", "unknown")
WHICH = st.integers(0, 2)
GARBAGE: tuple[tuple[str | bytes, str, str | None], ...] = (
    ("{", "invalid_json", None),
    (b"{}", "invalid_json", None),
    ("[]", "invalid_message", None),
    ('{"type": "dance", "payload": {"subscriptionIdentifier": "d1;c1"}}', "unknown_type", "d1;c1"),
    ('{"type": "subscribe", "payload": {"subscriptionIdentifier": "d1;c1"}}', "invalid_message", "d1;c1"),
    ('{"type": "setSessionId", "payload": {"displayIdentifier": "d1"}}', "invalid_message", None),
)
DATA = st.dictionaries(
    st.sampled_from("ab"),
    st.none() | st.integers(0, 3) | st.dictionaries(st.sampled_from("cd"), st.integers(0, 3), max_size=2),
    max_size=2,
)


class Engine(FakeOpener):
    """Opens a pipeline that never sees anything."""

    def __init__(self) -> None:
        super().__init__(lambda: fake_pipeline(FakeModel((), ["Car"])))

    def start(self) -> None: ...

    def close(self, timeout: float) -> None: ...


@dataclass(frozen=True)
class Wish:
    """What a subscription asks for, as the model knows it."""

    camera: str
    interval: int | None = None
    model: int | str = 1
    crop: tuple[int, int, int, int] | None = None
    legacy: bool = False

    @property
    def source(self) -> SourceSpec:
        return SourceSpec(f"rtsp://{self.camera}/s", self.interval)

    def payload(self, name: str) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "modelUrl": f"http://m/{self.model}",
            "modelName": "M",
            "modelId": self.model,
        }
        payload["cameraIdentifier" if self.legacy else "subscriptionIdentifier"] = name
        payload["rtspUrl" if self.interval is None else "snapshotUrl"] = self.source.url
        if self.interval is not None:
            payload["snapshotInterval"] = self.interval
        return payload | self.crops

    @property
    def crops(self) -> dict[str, int]:
        return dict(zip(("cropX1", "cropY1", "cropX2", "cropY2"), self.crop or (), strict=False))

    def line(self, name: str, online: bool) -> dict[str, Any]:
        """How a state report tells it."""
        line = {"subscriptionIdentifier": name, "modelId": self.model, "modelName": "M", "online": online}
        return line | self.crops | ({"cameraIdentifier": name} if self.legacy else {})


@dataclass
class Held:
    wish: Wish
    holder: int | None
    expires: float = float("inf")


@dataclass
class Camera:
    """What the world knows of an open source."""

    frames: bool = False
    error: str | None = None


@dataclass
class Client:
    """A backend: its connection, the replies that it must get, and what it was told is wrong."""

    connection: Connection
    replies: list[tuple[Any, ...]] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    listed: list[dict[str, Any]] | None = None
    wants_report: bool = True


WISHES = st.builds(
    Wish,
    CAMERAS,
    st.sampled_from([None, None, 500]),
    st.sampled_from([1, 2, "m"]),
    st.sampled_from([None, (1, 2, 30, 40)]),
)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The contract's words: null sets null, objects merge, other values replace."""
    found = dict(old)
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = merged(found[key], value) if both else value
    return found


class ProtocolMachine(RuleBasedStateMachine):
    """Backends that come, go, ask, fight and lie."""

    @initialize()
    def begin(self) -> None:
        self.threads = threading.active_count()
        self.now = 1000.0
        clock = SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now)
        self.before = (worker.time, connections.time, worker.REPORT_DELAY_SEC, connections.PATCH_DELAY_SEC)
        worker.time = connections.time = clock  # type: ignore[assignment]
        worker.REPORT_DELAY_SEC = connections.PATCH_DELAY_SEC = 0
        self.loop = asyncio.new_event_loop()
        self.clients: dict[int, Client] = {}
        self.held: dict[str, Held] = {}
        self.cameras: dict[SourceSpec, Camera] = {}
        self.sessions: dict[str, int | str] = {}
        self.data: dict[str, dict[str, Any]] = {}
        self.seen: dict[str, dict[str, str]] = {}
        """By session: the newest late values."""
        self.known: dict[str, dict[str, str]] = {}
        """By session: what backends were told of them and acknowledged."""
        self.under_way: list[tuple[int, int | str, dict[str, str]]] = []
        self.count = 0
        self.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        quiet = {"state_interval_sec": 1e6, "burst": 100_000, "error_burst": 100_000}
        self.worker = Worker(
            Settings(
                max_streams=MOST,
                disconnect_grace_sec=GRACE,
                target_fps=100,
                websocket=quiet,
                pipeline={"threads": 2},
            )  # type: ignore[arg-type]
        )
        self.engine = Engine()
        self.worker.engine = self.engine  # type: ignore[assignment]
        await self.worker.start()
        self.pool = FakeSourcePool(self.worker._on_source_change)
        self.worker.pool = self.pool  # type: ignore[assignment]

    # --- what the world does -----------------------------------------------------------------------

    @rule()
    def connect(self) -> None:
        if len(self.clients) < 3:
            connection = self._called(self.worker.connect)
            self.clients[connection.id] = Client(connection)
        self.settle()

    @precondition(lambda self: self.clients)
    @rule(which=WHICH)
    def disconnect(self, which: int) -> None:
        number = self.client(which).connection.id
        connection = self.clients.pop(number).connection
        for held in self.held.values():
            if held.holder == number:
                held.holder, held.expires = None, self.now + GRACE
        self.under_way = [one for one in self.under_way if one[0] != number]
        self._called(self.worker.disconnect, connection)
        self.settle()

    @precondition(lambda self: self.clients)
    @rule(which=WHICH, name=NAMES, wish=WISHES, legacy=st.booleans())
    def subscribe(self, which: int, name: str, wish: Wish, legacy: bool) -> None:
        client = self.client(which)
        wish = Wish(wish.camera, wish.interval, wish.model, wish.crop, legacy)
        before = self.held.get(name)
        others = {key: held for key, held in self.held.items() if key != name}
        kept = {held.wish.source for held in others.values()}
        firm = {held.wish.source for held in others.values() if held.holder is not None}
        self.say(client, {"type": "subscribe", "payload": wish.payload(name)})
        if (
            wish.source not in kept
            and len(firm) >= MOST
            and (before is None or before.wish.source != wish.source)
        ):
            client.replies.append(("error", "max_streams_reached", name, legacy, False))
            self.settle()
            return
        for other in self.clients.values():
            other.told.pop(name, None)
        if before is not None and before.holder in self.clients and before.holder != client.connection.id:
            self.clients[before.holder].wants_report = True
        self.held.pop(name, None)
        self._gave_way(kept, wish.source)
        self.held[name] = Held(wish, client.connection.id)
        self._open_sources()
        client.wants_report = True
        self._tell(name)
        self.settle()

    @precondition(lambda self: self.clients and self.held)
    @rule(which=WHICH, who=WHICH)
    def subscribe_again(self, which: int, who: int) -> None:
        """What is there already, by whoever: what still fails is told again."""
        name = sorted(self.held)[which % len(self.held)]
        wish = self.held[name].wish
        self.subscribe(who, name, wish, wish.legacy)

    @precondition(lambda self: self.clients)
    @rule(which=WHICH, name=NAMES, legacy=st.booleans())
    def unsubscribe(self, which: int, name: str, legacy: bool) -> None:
        client = self.client(which)
        key = "cameraIdentifier" if legacy else "subscriptionIdentifier"
        self.say(client, {"type": "unsubscribe", "payload": {key: name}})
        held = self.held.get(name)
        if held is None or held.holder != client.connection.id:
            client.replies.append(("error", "unknown_subscription", name, legacy, False))
        else:
            del self.held[name]
            client.told.pop(name, None)
            client.wants_report = True
            self._open_sources()
        self.settle()

    @precondition(lambda self: self.clients)
    @rule(which=WHICH)
    def request_state(self, which: int) -> None:
        self.say(self.client(which), {"type": "requestState"})
        self.client(which).wants_report = True
        self.settle()

    @precondition(lambda self: self.clients)
    @rule(which=WHICH, display=st.sampled_from(DISPLAYS), session=SESSIONS)
    def set_session(self, which: int, display: str, session: int | str | None) -> None:
        payload = {"displayIdentifier": display, "sessionId": session}
        self.say(self.client(which), {"type": "setSessionId", "payload": payload})
        self.sessions.pop(display, None)
        if session is not None:
            self.sessions[display] = session
        self.settle()

    @precondition(lambda self: self.clients)
    @rule(which=WHICH, session=SESSIONS.filter(lambda one: one is not None), data=DATA)
    def patch(self, which: int, session: int | str, data: dict[str, Any]) -> None:
        client = self.client(which)
        self.say(client, {"type": "patchSession", "sessionId": session, "data": data})
        self.data[str(session)] = merged(self.data.get(str(session), {}), data)
        client.replies.append(("result", session, True))
        self.settle()

    @precondition(lambda self: self.clients)
    @rule(which=WHICH, what=st.sampled_from(GARBAGE))
    def garbage(self, which: int, what: tuple[str | bytes, str, str | None]) -> None:
        text, code, name = what
        client = self.client(which)
        self._called(self.worker.receive, client.connection, text)
        client.replies.append(("error", code, name, False, False))
        self.settle()

    @rule(seconds=st.sampled_from([0.5, 4.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.held = {name: held for name, held in self.held.items() if held.expires > self.now}
        self._open_sources()
        self._called(self.worker._expire)
        self._called(self.worker.connections.expire)
        self.settle()

    @precondition(lambda self: self.cameras)
    @rule(which=WHICH, works=st.booleans())
    def camera(self, which: int, works: bool) -> None:
        """A camera shows a frame, or fails."""
        spec = sorted(self.cameras, key=str)[which % len(self.cameras)]
        camera, source = self.cameras[spec], self.pool.sources[spec]
        source.stale_after_sec = 1e9
        if works:
            camera.frames, camera.error = True, None
            self._called(source.show)
        else:
            camera.error = "stream_lost" if camera.frames else "stream_unreachable"
            self._called(source.fail, StreamUnreachable())
        for name, held in self.held.items():
            if held.wish.source == spec:
                self._tell(name)
        self.settle()

    @precondition(lambda self: self.held)
    @rule(which=WHICH, session=st.sampled_from([5, "visit"]))
    def see_late(self, which: int, session: int | str) -> None:
        """Something is seen for a subscription, too late to be told as such."""
        name = sorted(self.held)[which % len(self.held)]
        self.count += 1
        values = {"carBrand": str(self.count)}
        display = name.partition(";")[0] if ";" in name else "unknown"
        # Sessions belong to one display each here: where a patch goes is then known.
        session = f"{session}-{display}"
        body = {"detection": values, "modelId": 1, "modelName": "M"}
        message = {"subscriptionIdentifier": name, "timestamp": "t", "sessionId": session, "data": body}
        late = QueuedDetection(
            ImageDetection.model_validate(message),
            display,
            session,
            values,
            self.now - 100 + self.count / 1000,
        )
        self.seen.setdefault(session, {}).update(values)
        self._called(self.worker.connections.detection, self.held[name].holder, late)
        self.settle()

    @precondition(lambda self: self.under_way)
    @rule(which=WHICH, success=st.booleans())
    def answer(self, which: int, success: bool) -> None:
        """A backend answers a patch of ours."""
        number, session, values = self.under_way.pop(which % len(self.under_way))
        payload = {"sessionId": session, "success": success, "message": "x"}
        self.say(self.clients[number], {"type": "patchSessionResult", "payload": payload})
        self._acknowledge(session, values)
        self.settle()

    # --- the model ---------------------------------------------------------------------------------

    def client(self, which: int) -> Client:
        return self.clients[sorted(self.clients)[which % len(self.clients)]]

    def say(self, client: Client, message: dict[str, Any]) -> None:
        self._called(self.worker.receive, client.connection, json.dumps(message))

    def _called(self, function: Any, *arguments: Any) -> Any:
        async def call() -> Any:
            return function(*arguments)

        return self.loop.run_until_complete(call())

    def _gave_way(self, kept: set[SourceSpec], wanted: SourceSpec) -> None:
        """Where there was no room, all of one source ended that nobody held and whose time was up first."""
        there = {one.identifier for one in self.worker.subscriptions.all()}
        gone = {name for name in self.held if name not in there}
        assert bool(gone) is (wanted not in kept and len(kept) >= MOST)
        if not gone:
            return
        (source,) = {self.held[name].wish.source for name in gone}
        of_source = {name for name, held in self.held.items() if held.wish.source == source}
        assert gone == of_source
        until = {one: max(h.expires for h in self.held.values() if h.wish.source == one) for one in kept}
        assert until[source] == min(until.values()) < float("inf")
        for name in gone:
            del self.held[name]

    def _open_sources(self) -> None:
        wanted = {held.wish.source for held in self.held.values()}
        self.cameras = {spec: self.cameras.get(spec, Camera()) for spec in wanted}

    def _tell(self, name: str) -> None:
        """The holder of a subscription is told what is wrong with its camera: once, and when it is over."""
        held = self.held[name]
        client = None if held.holder is None else self.clients[held.holder]
        camera = self.cameras[held.wish.source]
        if client is None:
            return
        if camera.error is not None and client.told.get(name) != camera.error:
            client.told[name] = camera.error
            client.replies.append(("error", camera.error, name, held.wish.legacy, False))
        elif camera.error is None and camera.frames and name in client.told:
            code = client.told.pop(name)
            client.replies.append(("error", code, name, held.wish.legacy, True))

    def _lines(self, number: int) -> list[dict[str, Any]]:
        mine = [(name, held.wish) for name, held in self.held.items() if held.holder == number]
        return [wish.line(name, self._online(wish)) for name, wish in mine]

    def _online(self, wish: Wish) -> bool:
        camera = self.cameras[wish.source]
        return camera.frames and camera.error is None

    def _acknowledge(self, session: int | str, values: dict[str, str]) -> None:
        known = self.known.setdefault(str(session), {})
        for key, value in values.items():
            known[key] = max(known.get(key, "0"), value, key=int)

    # --- what must hold ----------------------------------------------------------------------------

    def settle(self) -> None:
        """Let everything happen that will, read every client's messages, and compare."""
        got: dict[int, tuple[list[Any], list[Any]]] = {number: ([], []) for number in self.clients}
        for _ in range(3):  # what is found to be late when it is read becomes a patch
            self.loop.run_until_complete(self._settled())
            for number, client in self.clients.items():
                for kept, read in zip(got[number], self._read(number, client), strict=True):
                    kept += read
        for number, client in self.clients.items():
            replies, reports = got[number]
            # Of one camera's failure several subscriptions may be told, in any order.
            assert sorted(map(repr, replies)) == sorted(map(repr, client.replies))
            client.replies = []
            lines = self._lines(number)
            if reports:
                assert reports[-1] == lines, (reports[-1], lines)
                client.listed = lines
            assert reports or not client.wants_report
            assert client.listed == lines, "a change of what is held or online was not reported"
            client.wants_report = False

    async def _settled(self) -> None:
        await until(lambda: all(one.pipeline is not None for one in self.worker.loader.all()))
        for _ in range(12):
            await asyncio.sleep(0)

    def _read(self, number: int, client: Client) -> tuple[list[tuple[Any, ...]], list[list[dict[str, Any]]]]:
        replies: list[tuple[Any, ...]] = []
        reports: list[list[dict[str, Any]]] = []
        while (sent := self._called(self.worker.connections.next, client.connection)) is not None:
            message = json.loads(encode(sent))
            validators()[message["type"]].validate(message)
            match message["type"]:
                case "stateReport":
                    reports.append(message["cameraConnections"])
                case "patchSession":
                    self._got_patch(number, message)
                case "patchSessionResult":
                    payload = message["payload"]
                    replies.append(("result", payload["sessionId"], payload["success"]))
                case "error":
                    name, legacy = message.get("subscriptionIdentifier"), "cameraIdentifier" in message
                    replies.append(("error", message["code"], name, legacy, message.get("resolved", False)))
                case other:
                    raise AssertionError(other)
        return replies, reports

    def _got_patch(self, number: int, message: dict[str, Any]) -> None:
        session, values = message["sessionId"], message["data"]["currentCar"]
        display = session.partition("-")[2]
        holders = {
            held.holder
            for name, held in self.held.items()
            if (name.partition(";")[0] if ";" in name else "unknown") == display
        }
        assert number in holders, "a patch goes to who subscribes its display"
        assert values == self.seen[session], "the newest values, in one message"
        self.under_way.append((number, session, values))

    @invariant()
    def the_worker_agrees(self) -> None:
        if not hasattr(self, "worker"):
            return
        subscriptions = self.worker.subscriptions
        assert {one.identifier for one in subscriptions.all()} == set(self.held)
        assert {name: subscriptions.holder(name) for name in self.held} == {
            name: held.holder for name, held in self.held.items()
        }
        users = Counter((held.wish.source, held.wish.model, held.wish.crop) for held in self.held.values())
        assert len(self.worker.loops()) == len(users)
        assert dict(self.pool.users) == Counter(source for source, _, _ in users)
        assert len(self.pool.users) <= MOST
        assert len(self.worker.loader.all()) == len({held.wish.model for held in self.held.values()})
        for display in DISPLAYS:
            assert self.worker.displays.session_of(display) == self.sessions.get(display)
        for session, data in self.data.items():
            assert self.worker.displays.data(session) == data

    def teardown(self) -> None:
        if not hasattr(self, "worker"):
            return
        try:
            self._end()
        finally:
            worker.time, connections.time, worker.REPORT_DELAY_SEC, connections.PATCH_DELAY_SEC = self.before
            self.loop.run_until_complete(self.worker.stop())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
        until_sync(lambda: threading.active_count() <= self.threads)

    def _end(self) -> None:
        """One patient backend hears everything; then everybody leaves, and nothing is left."""
        while self.clients:
            self.disconnect(0)
        self.wait(11.0)
        self.connect()
        for name in ("d1;c1", "d2;c1", "cam"):
            self.subscribe(0, name, Wish("a"), False)
        self.wait(11.0)
        while self.under_way:
            self.answer(0, True)
        assert self.known == self.seen
        self.disconnect(0)
        self.wait(11.0)
        assert self.worker.subscriptions.all() == []
        assert self.worker.loops() == []
        assert self.worker.loader.all() == []
        assert not self.pool.users
        assert all(source.listeners == 0 for source in self.pool.sources.values())
        assert len(self.worker.connections) == 0


def until_sync(condition: Any) -> None:
    """Wait for what ends in the background."""
    asyncio.run(until(condition))
