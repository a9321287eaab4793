"""A file that kills its app takes no file of another slot along."""

from typing import Any

import pytest

from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.events import (
    Cancel,
    Exited,
    Launch,
    Launched,
    Received,
    Reorder,
    Start,
    Terminate,
    TimePassed,
)
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.requests import TRIAL_REPORTS
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.states import AppState, FileState, RequestState, Stage
from siwatsystem.deepstream.to_server import (
    AnalysisComplete,
    AnalysisStarted,
    AnalysisStatus,
    CameraFiles,
    CameraStatus,
    FileDone,
    FileProcessing,
    ProcessingStarted,
)
from tests.deepstream.by_hand import Bench, files, sent
from tests.deepstream.sim_app import SimApp
from tests.deepstream.world import World

LONG = 60
"""Frames of a file."""
SLOTS = 4
CONFIG = "/configs/cars.txt"


class Recordings(World):
    """An app with four slots; `deadly` names files (camera, file) and the frame at which it dies of each."""

    def __init__(self, deadly: dict[tuple[int, int], int], *, tells: bool = True) -> None:
        super().__init__(Limits(restart_window_sec=1e6, restarts=99))
        self.deadly = deadly
        self.tells = tells
        self.deaths = 0
        self.handle(Launch("launch", Spec(CONFIG, SLOTS), "a"))
        self.connect(self.finish_launch(tells_frames=tells))
        for slot in range(SLOTS):
            command = Start(
                f"r{slot}",
                camera_id=slot,
                kind="fileset",
                path="/v",
                files=files(2),
                instance_id="a",
                stream_id=slot,
            )
            self.handle(command)

    def play(self) -> None:
        """Until all has ended. Each round every slot analyses a frame, and tells of it or not."""
        at: dict[tuple[int, int], int] = {}
        for number in range(20_000):
            if all(request.stage is Stage.OVER for request in self.control.requests()):
                return
            if self.launches:
                at.clear()
                self.connect(self.finish_launch(tells_frames=self.tells))
            if not self.apps:
                self.now = max(self.now, self.control.next_due() or 0)
                self.handle(TimePassed())
                continue
            (app,) = self.apps
            self.now += 0.7  # the app tells every 2.1 s
            self.handle(TimePassed())
            while app.inbox:
                app.read()
            if not self._work(app, at, reports=number % 3 == 0):
                self.deaths += 1
                self.die(app, -11)
        raise AssertionError("it never ends")

    def _work(self, app: SimApp, at: dict[tuple[int, int], int], *, reports: bool) -> bool:
        """Whether the app outlives it."""
        for slot, line in enumerate(app.slots):
            camera = line[0] if line else None
            if camera is None or camera.at is None:
                app.work(slot)
                continue
            file = (camera.camera_id, camera.at)
            at[file] = at.get(file, 0) + 1
            if at[file] == self.deadly.get(file):
                return False
            if at[file] == LONG:
                app.work(slot)
            elif reports and self.tells:
                app.say(where(slot, *file, at[file]))
        while app.out:
            self.say(app, app.out.popleft())
        return True

    def states(self) -> dict[tuple[int, int], str]:
        return {
            (request.camera_id, file.id): file.state.value
            for request in self.control.requests()
            for file in request.files.values()
        }


def where(slot: int, camera: int, file: int, frame: int | None, percent: float = 0.0) -> AnalysisStatus:
    at = CameraFiles(processing=[FileProcessing(file_id=file, progress_pct=percent, frame=frame)])
    return AnalysisStatus(stream_id=slot, camera=CameraStatus(camera_id=camera, status="running", files=at))


@pytest.mark.parametrize(
    "deadly",
    [
        {(1, 0): 30},
        {(3, 0): 1},
        {(0, 0): 59},
        {(2, 1): 5},
        {(1, 0): 30, (2, 0): 30},
        {(0, 0): 10, (3, 1): 40},
        {(slot, file): 20 for slot in (1, 2, 3) for file in (0, 1)},
    ],
    ids=[
        "in the midst",
        "at once",
        "at its end",
        "a second file",
        "two at a time",
        "two",
        "all but one slot",
    ],
)
def test_a_file_that_kills_its_app_fails_alone(deadly: dict[tuple[int, int], int]):
    world = Recordings(deadly)
    world.play()
    failed = {file for file, state in world.states().items() if state == "failed"}
    assert failed == deadly.keys()
    assert set(world.states().values()) == {"failed", "done"}
    assert world.deaths <= 3 * len(deadly)


def test_where_an_app_tells_no_frames_only_what_dies_early_is_found_out():
    world = Recordings({(1, 0): 30}, tells=False)
    world.play()
    assert {file for file, state in world.states().items() if state == "failed"} == {(1, 0)}
    assert world.deaths == 3


def both_died(first: Any = None, frame: int | None = 50) -> Bench:
    """Cameras 3 and 4 were at that frame in slots 0 and 1; the app has died, and may connect as 2."""
    bench = Bench()
    bench.start(**(first or {}))
    bench.start(camera=4, stream_id=1)
    for slot, camera in ((0, 3), (1, 4)):
        bench.says(AnalysisStarted, camera=camera, stream=slot, status="ok")
        bench.says(ProcessingStarted, camera=camera, stream=slot, file_id=0)
        bench.do(Received(1, where(slot, camera, 0, frame, 20.0)))
    bench.do(Exited("a", 1, -11))
    bench.after(1)
    return bench


def begun(effects: list[Any]) -> list[int]:
    """The cameras that the app is asked to begin."""
    return [message.camera_id for message in sent(effects) if message.type == "start_analysis"]


def attempts(bench: Bench) -> list[int]:
    return [bench.request(name).files[0].attempts for name in ("r1", "r2")]


def test_one_is_begun_and_the_others_once_it_is_further_than_where_the_app_died():
    bench = both_died()
    assert attempts(bench) == [1, 1]
    assert begun(bench.ready(2)) == [3]
    bench.says(AnalysisStarted, connection=2, status="ok")
    for frame in (10, 50, *range(51, 50 + TRIAL_REPORTS)):
        assert not begun(bench.do(Received(2, where(0, 3, 0, frame, frame / 2.5)))), frame
        bench.do(Received(2, where(0, 3, 0, frame, frame / 2.5)))  # told twice it is no further
    assert begun(bench.do(Received(2, where(0, 3, 0, 90, 36.0)))) == [4]
    assert attempts(bench) == [0, 1]
    assert [bench.request(name).fruitless for name in ("r1", "r2")] == [0, 1]


def test_where_the_app_tells_percentages_only_those_count():
    bench = both_died(frame=None)
    bench.ready(2)
    bench.says(AnalysisStarted, connection=2, status="ok")
    assert not begun(bench.do(Received(2, where(0, 3, 0, None, 20.0))))
    assert not begun(bench.do(Received(2, where(0, 3, 0, None, 21.0))))
    assert begun(bench.do(Received(2, where(0, 3, 0, None, 22.0)))) == [4]


@pytest.mark.parametrize("how", ["it is done", "it is cancelled", "the app refuses it"])
def test_the_end_of_what_is_tried_lets_the_others_begin(how: str):
    bench = both_died({"count": 1})
    bench.ready(2)
    if how == "the app refuses it":
        effects = bench.says(AnalysisStarted, connection=2, status="error")
    else:
        bench.says(AnalysisStarted, connection=2, status="ok")
        effects = bench.says(FileDone, connection=2, file_id=0)
    if how == "it is cancelled":
        bench = both_died()
        effects = bench.do(Cancel("c", "r1"))
        assert bench.request().state is RequestState.INTERRUPTED
        effects = bench.ready(2)
    assert begun(effects) == [4]


def test_a_death_during_a_trial_is_charged_to_what_is_tried():
    bench = both_died()
    bench.ready(2)
    bench.says(AnalysisStarted, connection=2, status="ok")
    bench.do(Exited("a", 2, -11))
    assert attempts(bench) == [2, 1]
    bench.after(2)
    assert begun(bench.ready(3)) == [3]
    bench.says(AnalysisStarted, connection=3, status="ok")
    bench.do(Exited("a", 3, -11))
    assert bench.request().files[0].state is FileState.FAILED
    bench.after(4)
    assert begun(bench.ready(4)) == [4], "its next file is begun after what is still to be tried"
    assert attempts(bench) == [3, 1]


def test_new_work_waits_for_the_trial_and_says_why():
    bench = both_died()
    bench.ready(2)
    bench.start(camera=5, stream_id=1)
    bench.start(camera=6, stream_id=0)
    text = "it waits: r1, of which the app may have died, is tried alone first"
    assert bench.request("r2").reason == text
    assert bench.request("r3").reason == "it waits for its slot", "what is before it waits"
    bench.do(Cancel("c", "r2"))
    assert bench.request("r3").reason == text
    bench.says(AnalysisStarted, connection=2, status="ok")
    assert begun(bench.says(FileDone, connection=2, file_id=0)) == [5]


def test_a_stream_is_tried_first_and_is_past_it_with_its_first_frame():
    bench = Bench()
    bench.start()
    bench.start(camera=4, stream_id=1, kind="videostream", path="rtsp://camera", files=())
    for slot, camera in ((0, 3), (1, 4)):
        bench.says(AnalysisStarted, camera=camera, stream=slot, status="ok")
    bench.says(ProcessingStarted, file_id=0)
    bench.do(Exited("a", 1, -11))
    bench.after(1)
    assert begun(bench.ready(2)) == [4]
    bench.says(AnalysisStarted, camera=4, stream=1, connection=2, status="ok")
    camera = CameraStatus(camera_id=4, status="running", files=CameraFiles())
    assert begun(bench.do(Received(2, AnalysisStatus(stream_id=1, camera=camera)))) == [3]


def test_what_dies_wherever_it_is_tried_comes_to_an_end():
    """It never dies alone: no file is spared for ever."""
    bench = both_died()
    for run in range(2, 40):
        if bench.request().files[0].state is FileState.FAILED:
            break
        bench.ready(run)
        for slot, camera in ((0, 3), (1, 4)):
            bench.says(AnalysisStarted, camera=camera, stream=slot, connection=run, status="ok")
            for frame in (60 * run, 60 * run + 1, 60 * run + 2):
                bench.do(Received(run, where(slot, camera, 0, frame, 30.0)))
        bench.do(Exited("a", run, -11))
        bench.after(10_000)
    assert run <= Limits().file_trials + Limits().file_attempts + 1


def test_an_older_request_whose_app_is_gone_does_not_block_what_is_to_be_tried():
    bench = Bench()
    bench.do(Launch("other", Spec(CONFIG, 1), "b"))
    bench.do(Launched("b", 1, 4712))
    bench.ready(9, name="b", streams=1)
    for camera in (1, 2, 3):
        bench.start(camera=camera, count=1)
    for slot, camera in ((0, 1), (1, 2)):
        bench.says(AnalysisStarted, camera=camera, stream=slot, status="ok")
        bench.says(FileDone, camera=camera, stream=slot, file_id=0)
        bench.says(AnalysisComplete, camera=camera, stream=slot)
    for slot, camera in ((0, 4), (1, 5)):
        bench.start(camera=camera, count=1)
        bench.says(AnalysisStarted, camera=camera, stream=slot, status="ok")
    bench.do(Terminate("end", "b"))
    bench.do(Exited("b", 1, 0))
    assert bench.request("r3").instance_id is None
    bench.do(Exited("a", 1, -11))
    bench.after(1)
    assert begun(bench.ready(2)) == [4]
    bench.says(AnalysisStarted, camera=4, connection=2, status="ok")
    assert begun(bench.says(FileDone, camera=4, connection=2, file_id=0)) == [5]
    bench.says(AnalysisStarted, camera=5, stream=1, connection=2, status="ok")
    assert begun(bench.says(AnalysisComplete, camera=4, connection=2)) == []
    assert begun(bench.says(FileDone, camera=5, stream=1, connection=2, file_id=0)) == [3]


def test_what_is_tried_holds_the_others_for_a_time_only():
    """It may hang, its camera may be away."""
    bench = both_died()
    bench.ready(2)
    bench.says(AnalysisStarted, connection=2, status="ok")
    for frame in (10, 20):
        assert not begun(bench.after(Limits().trial_sec - 1))
        bench.do(Received(2, where(0, 3, 0, frame, 4.0)))
    assert not begun(bench.after(Limits().trial_sec - 1))
    assert begun(bench.after(1)) == [4]
    bench.says(AnalysisStarted, camera=4, stream=1, connection=2, status="ok")
    for frame in (51, 52):
        bench.do(Received(2, where(0, 3, 0, frame, 21.0)))
    assert attempts(bench) == [0, 1], "past its place it is not to blame, whatever runs beside it"
    bench.do(Exited("a", 2, -11))
    assert attempts(bench) == [0, 2], "what is tried alone is"
    bench.after(10)
    bench.ready(3)
    bench.says(AnalysisStarted, camera=4, stream=1, connection=3, status="ok")
    bench.after(Limits().trial_sec)
    bench.says(AnalysisStarted, connection=3, status="ok")
    bench.do(Exited("a", 3, -11))
    assert attempts(bench) == [1, 3], "after that time nobody knows which of them"


def test_a_stream_without_a_picture_holds_nobody_for_ever():
    bench = Bench()
    bench.start()
    bench.start(camera=4, stream_id=1, kind="videostream", path="rtsp://camera", files=())
    bench.says(AnalysisStarted, status="ok")
    bench.do(Exited("a", 1, -11))
    bench.after(1)
    assert begun(bench.ready(2)) == [4]
    bench.says(AnalysisStarted, camera=4, stream=1, connection=2, status="ok")
    assert begun(bench.after(Limits().trial_sec)) == [3]


def test_what_the_app_was_asked_to_begin_is_begun_one_at_a_time_after_a_death():
    """It may die of the first look at a file."""
    bench = Bench()
    bench.start()
    bench.start(camera=4, stream_id=1)
    for run in (1, 2, 3):
        bench.do(Exited("a", run, -11))
        bench.after(10)
        effects = bench.ready(run + 1)
    assert bench.request("r1").state is RequestState.FAILED
    assert begun(effects) == [4]
    bench.says(AnalysisStarted, camera=4, stream=1, connection=4, status="ok")
    bench.says(ProcessingStarted, camera=4, stream=1, connection=4, file_id=0)
    assert bench.request("r2").fruitless == 0


def test_who_waits_for_files_has_no_part_in_a_death():
    bench = Bench()
    bench.start(count=0, closed=False)
    bench.says(AnalysisStarted, status="ok")
    bench.start(camera=4, stream_id=1)
    bench.says(AnalysisStarted, camera=4, stream=1, status="ok")
    bench.do(Exited("a", 1, -11))
    assert [bench.request(name).fruitless for name in ("r1", "r2")] == [0, 1]


def test_what_a_new_server_read_from_the_disk_may_be_to_blame():
    bench = Bench()
    bench.start()
    bench.says(AnalysisStarted, status="ok")
    bench.says(ProcessingStarted, file_id=0)
    bench.control = Control.rebuilt(bench.control.export(), bench.now)
    bench.do(Exited("a", 1, None))
    assert (bench.request().fruitless, bench.request().files[0].attempts) == (1, 0)


def test_a_death_before_the_place_leaves_the_place_where_it_was():
    bench = both_died()
    bench.ready(2)
    bench.says(AnalysisStarted, connection=2, status="ok")
    bench.do(Received(2, where(0, 3, 0, 3, 1.0)))
    bench.do(Exited("a", 2, -11))
    bench.after(10)
    bench.ready(3)
    bench.says(AnalysisStarted, connection=3, status="ok")
    for frame in (5, 40, 50):
        assert not begun(bench.do(Received(3, where(0, 3, 0, frame, 2.0))))
    assert attempts(bench) == [2, 1]


def test_what_alone_can_have_been_to_blame_stays_charged():
    bench = Bench()
    bench.start(count=1, resume=True)
    for run in (1, 2, 3):
        bench.says(AnalysisStarted, connection=run, status="ok")
        for frame in (1, 2, 3):
            bench.do(Received(run, where(0, 3, 0, 1000 * run + frame, 30.0)))
        bench.do(Exited("a", run, -9))
        bench.after(60)
        bench.ready(run + 1)
    assert bench.request().state is RequestState.FAILED
    assert bench.app.state is AppState.RUNNING


def test_the_reason_is_right_once_it_waits_for_something_else():
    bench = both_died()
    bench.ready(2)
    bench.do(Cancel("c1", "r2"))
    answer = bench.start(camera=5, stream_id=1)
    assert answer.body["message"].startswith("it waits: r1")
    bench.says(AnalysisStarted, connection=2, status="ok")
    bench.start(camera=6, stream_id=1)
    bench.do(Reorder("m", "r4", 1))
    assert bench.request("r4").reason.startswith("it waits: r1")
    assert bench.request("r3").reason == "it waits for its slot"


def test_what_ran_beside_what_is_tried_and_was_never_tried_itself_is_charged_too():
    """The orphan of a dead app is tried where something else runs already."""
    bench = both_died()
    bench.do(Launch("other", Spec(CONFIG, 2), "b"))
    bench.do(Launched("b", 1, 4712))
    bench.ready(9, name="b")
    bench.start(camera=5, instance_id="b", stream_id=0)
    bench.says(AnalysisStarted, camera=5, connection=9, status="ok")
    bench.says(ProcessingStarted, camera=5, connection=9, file_id=0)
    bench.do(Terminate("end", "a"))
    bench.do(Exited("a", 2, 0))
    assert bench.request("r1").instance_id == "b"
    bench.says(AnalysisStarted, camera=3, stream=1, connection=9, status="ok")
    bench.do(Exited("b", 1, -11))
    assert [bench.request(name).fruitless for name in ("r1", "r2", "r3")] == [2, 1, 1]
    assert bench.request("r3").trial is not None


def test_the_place_may_be_too_far_to_wait_for():
    bench = both_died(frame=100_000)
    bench.ready(2)
    bench.says(AnalysisStarted, connection=2, status="ok")
    for number in range(60):
        started = begun(bench.after(10))
        bench.do(Received(2, where(0, 3, 0, number, 4.0)))
    assert (bench.now, started) == (1 + Limits().trial_most_sec, [4])
