"""Anything may happen in any order: no file is lost, none is counted twice, all end once it is quiet."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.events import (
    Cancel,
    CleanUp,
    ConnectionLost,
    Exited,
    FileGiven,
    Interrupt,
    Launch,
    LaunchFailed,
    Push,
    Reorder,
    Start,
    Terminate,
    TimePassed,
)
from siwatsystem.deepstream.states import LIVE, Stage
from siwatsystem.deepstream.to_server import (
    AnalysisComplete,
    AnalysisInterrupted,
    AnalysisStarted,
    AppTerminated,
    FileDone,
    MetricsResponse,
    ProcessingStarted,
    PushAck,
)
from tests.deepstream.sim_app import SimApp
from tests.deepstream.world import World

NAMES = ["a", "b", "c"]
CONFIG = "/configs/cars.txt"
cameras = st.integers(1, 3)
names = st.sampled_from(NAMES)
streams = st.integers(0, 1)
seldom = st.sampled_from([False, False, True])


def connected(machine: "ControlMachine") -> bool:
    return bool(machine.connected())


class ControlMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.commands = 0
        self.sent: list[Any] = []

    def command(self, order: Any, **fields: Any) -> Any:
        self.commands += 1
        command = order(request_id=f"c{self.commands}", **fields)
        self.sent.append(command)
        return self.order(command)

    def order(self, command: Any) -> Any:
        if isinstance(command, Cancel):
            self.world.cancelled.add(command.target)
        if isinstance(command, Interrupt):
            self.world.cancelled.update(request.id for request in self.world.control.requests())
        self.world.reordered = isinstance(command, Reorder)
        answers = self.world.handle(command)
        self.world.reordered = False
        assert len(answers) == (0 if isinstance(command, Launch) and not answers else 1)
        return answers[0] if answers else None

    def pick(self, apps: list[SimApp], number: int) -> SimApp | None:
        return apps[number % len(apps)] if apps else None

    def connected(self) -> list[SimApp]:
        return [app for app in self.world.apps if app.connection is not None]

    @initialize(echoes=st.tuples(st.booleans(), st.booleans()))
    def two_apps(self, echoes: tuple[bool, bool]) -> None:
        for name, count, echo in zip(NAMES, (2, 1), echoes, strict=False):
            self.command(Launch, spec=Spec(CONFIG, count), instance_id=name)
            self.world.connect(self.world.finish_launch(echo=echo))

    # --- clients ------------------------------------------------------------------------------

    @rule(name=names, count=st.sampled_from([1, 2, None]))
    def launch(self, name: str, count: int | None) -> None:
        self.command(Launch, spec=Spec(CONFIG, count), instance_id=name)

    @rule(
        camera=cameras,
        count=st.integers(1, 5),
        name=st.sampled_from([None, None, "a", "b"]),
        stream=st.sampled_from([None, None, 0, 1]),
        closed=st.sampled_from([True, True, False]),
    )
    def start(self, camera: int, count: int, name: str | None, stream: int | None, closed: bool) -> None:
        files = tuple(FileGiven(number, f"/v/{number}") for number in range(count))
        self.command(
            Start,
            camera_id=camera,
            kind="fileset",
            path="/v",
            files=files,
            instance_id=name,
            stream_id=stream,
            closed=closed,
        )

    @rule(camera=cameras)
    def watch(self, camera: int) -> None:
        self.command(Start, camera_id=camera, kind="videostream", path="rtsp://x")

    @precondition(lambda self: any(not r.closed for r in self.world.control.requests()))
    @rule(number=st.integers(0, 50), first=st.integers(0, 8), end=st.booleans())
    def push(self, number: int, first: int, end: bool) -> None:
        requests = self.world.control.requests()
        if requests:
            target = requests[number % len(requests)]
            self.command(Push, target=target.id, files=(FileGiven(first, "/v/p"),), end=end)

    @precondition(lambda self: any(r.stage is Stage.LINE for r in self.world.control.requests()))
    @rule(number=st.integers(0, 50), position=st.integers(1, 4))
    def reorder(self, number: int, position: int) -> None:
        requests = [r for r in self.world.control.requests() if r.stage is Stage.LINE]
        if requests:
            target = requests[number % len(requests)]
            line = self.world.control.position(target)
            answer = self.command(Reorder, target=target.id, position=position)
            assert answer.status == 200
            assert line is not None
            assert answer.body["position"] <= position

    @precondition(lambda self: self.world.control.requests())
    @rule(number=st.integers(0, 50))
    def cancel(self, number: int) -> None:
        requests = self.world.control.requests()
        if requests:
            self.command(Cancel, target=requests[number % len(requests)].id)

    @rule(name=names, stream=streams, camera=cameras)
    def interrupt(self, name: str, stream: int, camera: int) -> None:
        self.command(Interrupt, instance_id=name, stream_id=stream, camera_id=camera)

    @rule(name=names, sure=seldom)
    def terminate(self, name: str, sure: bool) -> None:
        if sure:
            self.command(Terminate, instance_id=name)

    @precondition(lambda self: any(app.state not in LIVE for app in self.world.control.apps()))
    @rule()
    def clean_up(self) -> None:
        self.command(CleanUp)

    @precondition(lambda self: self.sent)
    @rule(back=st.integers(1, 6))
    def repeat(self, back: int) -> None:
        """A command that is sent again changes nothing while its answer is remembered."""
        command = self.sent[-min(back, len(self.sent))]
        known = self.world.store["answer"].get(command.request_id)
        before = self.world.control.export()
        answer = self.order(command)
        if known is not None:
            assert (answer.status, answer.body) == (known["status"], known["body"])
            assert self.world.control.export() == before

    # --- the launcher and the network ---------------------------------------------------------

    @precondition(lambda self: self.world.launches)
    @rule(echo=st.booleans(), tells_frames=st.booleans())
    def launched(self, echo: bool, tells_frames: bool) -> None:
        self.world.finish_launch(echo=echo, tells_frames=tells_frames)

    @precondition(lambda self: self.world.launches)
    @rule()
    def launch_failed(self) -> None:
        launch = self.world.launches.pop(0)
        self.world.handle(LaunchFailed(launch.instance_id, launch.run, "no such program"))

    @precondition(lambda self: self.world.apps)
    @rule(number=st.integers(0, 5), sure=seldom)
    def app_ends_itself(self, number: int, sure: bool) -> None:
        app = self.pick(self.world.apps, number) if sure else None
        if app is not None and not app.ending:
            app.ending = True
            app.say(AppTerminated())

    @precondition(lambda self: any(app.connection is None for app in self.world.apps))
    @rule(number=st.integers(0, 5))
    def connect(self, number: int) -> None:
        app = self.pick([app for app in self.world.apps if app.connection is None], number)
        if app is not None:
            self.world.connect(app)

    @precondition(connected)
    @rule(number=st.integers(0, 5), lost=st.integers(0, 3))
    def lose(self, number: int, lost: int) -> None:
        app = self.pick(self.connected(), number)
        if app is not None:
            self.world.lose(app, lost)

    @precondition(lambda self: self.world.apps)
    @rule(number=st.integers(0, 5), code=st.sampled_from([0, 1, -9]), sure=seldom)
    def die(self, number: int, code: int, sure: bool) -> None:
        app = self.pick(self.world.apps, number) if sure else None
        if app is not None:
            self.world.die(app, code)

    @rule()
    def restart_server(self) -> None:
        self.world.restart_server()

    @rule(seconds=st.sampled_from([0.0, 1.0, 3.0, 6.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds
        self.world.handle(TimePassed())

    @rule(name=names, run=st.integers(0, 4), connection=st.integers(0, 40))
    def old_news(self, name: str, run: int, connection: int) -> None:
        """Of processes and connections that are long gone."""
        if all((app.instance_id, app.run) != (name, run) for app in self.world.apps):
            launches = [(launch.instance_id, launch.run) for launch in self.world.launches]
            if (name, run) not in launches:
                self.world.handle(Exited(name, run, 1))
        if all(app.connection != connection for app in self.world.apps):
            self.world.handle(ConnectionLost(connection))

    # --- apps ---------------------------------------------------------------------------------

    @precondition(lambda self: any(app.inbox for app in self.world.apps))
    @rule(number=st.integers(0, 5))
    def app_reads(self, number: int) -> None:
        app = self.pick([app for app in self.world.apps if app.inbox], number)
        while app is not None and app.inbox:
            app.read()

    @precondition(lambda self: any(r.stage is not Stage.OVER for r in self.world.control.requests()))
    @rule(rounds=st.integers(1, 6), reconnect=st.booleans())
    def all_go_on(self, rounds: int, reconnect: bool) -> None:
        for app in [app for app in self.world.apps if app.connection is None and reconnect]:
            if self.world.control.app(app.instance_id) is not None and app in self.world.apps:
                self.world.connect(app)
        for app in self.connected():
            self._goes_on(app, rounds)

    @precondition(connected)
    @rule(number=st.integers(0, 5), rounds=st.integers(1, 4))
    def app_goes_on(self, number: int, rounds: int) -> None:
        self._goes_on(self.pick(self.connected(), number), rounds)

    def _goes_on(self, app: SimApp | None, rounds: int) -> None:
        """It reads, works and speaks, as it does when nothing is wrong."""
        for _ in range(rounds):
            while app is not None and app.inbox:
                app.read()
            for stream in range(app.streams if app is not None else 0):
                app.work(stream)
            while app is not None and app.out and app.connection is not None:
                self.world.say(app, app.out.popleft())

    @precondition(lambda self: self.world.apps)
    @rule(number=st.integers(0, 5), stream=streams, steps=st.integers(1, 4), fails=st.booleans())
    def app_works(self, number: int, stream: int, steps: int, fails: bool) -> None:
        app = self.pick(self.world.apps, number)
        for _ in range(steps):
            if app is not None and stream < app.streams:
                app.work(stream, fails=fails)

    @precondition(lambda self: self.busy())
    @rule(number=st.integers(0, 5))
    def slot_hangs(self, number: int) -> None:
        """In the midst of a file, of which it has told."""
        busy = self.busy()
        app, stream = busy[number % len(busy)]
        for _ in range(4):
            line = app.slots[stream]
            if line and line[0].at is not None:
                app.hung.add(stream)
                app.say(app.status())
            self._goes_on(app, 1)

    def busy(self) -> list[tuple[SimApp, int]]:
        """Slots with a camera, of apps that tell frames."""
        apps = [app for app in self.connected() if app.tells_frames]
        return [(app, stream) for app in apps for stream in range(app.streams) if app.slots[stream]]

    @precondition(lambda self: any(app.out for app in self.connected()))
    @rule(number=st.integers(0, 5), most=st.integers(1, 6))
    def app_speaks(self, number: int, most: int) -> None:
        app = self.pick([app for app in self.connected() if app.out], number)
        for _ in range(most):
            if app is not None and app.out and app.connection is not None:
                self.world.say(app, app.out.popleft())

    @precondition(connected)
    @rule(number=st.integers(0, 5))
    def app_tells_progress(self, number: int) -> None:
        app = self.pick(self.connected(), number)
        if app is not None:
            app.say(app.status())

    @precondition(connected)
    @rule(number=st.integers(0, 5), back=st.integers(1, 12))
    def app_says_again(self, number: int, back: int) -> None:
        app = self.pick([app for app in self.connected() if app.said], number)
        if app is not None:
            self.world.say(app, app.said[-min(back, len(app.said))])

    @precondition(connected)
    @rule(
        number=st.integers(0, 5),
        kind=st.sampled_from(
            [
                AnalysisStarted,
                PushAck,
                ProcessingStarted,
                FileDone,
                AnalysisComplete,
                AnalysisInterrupted,
                MetricsResponse,
            ]
        ),
        stream=streams,
        camera=cameras,
        file=st.integers(0, 6),
        status=st.sampled_from(["ok", "error", "queued"]),
    )
    def app_says_anything(
        self, number: int, kind: Any, stream: int, camera: int, file: int, status: str
    ) -> None:
        app = self.pick(self.connected(), number)
        if app is None:
            return
        fields = {"stream_id": stream, "camera_id": camera, "file_id": file, "status": status}
        if kind is MetricsResponse:
            fields = {"cpu_percent": 1.0, "ram_mb": 2.0}
        self.world.say(app, kind(**{key: value for key, value in fields.items() if key in kind.model_fields}))

    # ------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """It becomes quiet: everything that nobody ended comes to its end, and nothing is left over."""
        world = self.world
        for request in world.control.requests():
            if request.stage is not Stage.OVER and request.kind == "videostream":
                self.command(Cancel, target=request.id)
            elif request.stage is not Stage.OVER and not request.closed and request.ending is None:
                self.command(Push, target=request.id, end=True)
        world.settle(self.bring_up)
        for request in world.control.requests():
            assert not request.unfinished

    def bring_up(self) -> None:
        """Operators launch what is waited for."""
        wanted = {r.wanted_instance for r in self.world.control.requests() if r.stage is not Stage.OVER}
        for name in sorted({name or "a" for name in wanted}):
            app = self.world.control.app(name)
            assert app is None or app.state not in LIVE, f"{name} lives and does nothing"
            self.command(Launch, spec=Spec(CONFIG, 2), instance_id=name)


ControlMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestControl = ControlMachine.TestCase


@pytest.mark.long
@pytest.mark.timeout(900)
def test_at_length() -> None:
    run_state_machine_as_test(
        ControlMachine, settings=settings(max_examples=300, stateful_step_count=80, deadline=None)
    )
