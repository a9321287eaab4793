"""Objects over many pictures: acted on once, voted on, recorded under one session."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from siwatsystem.actions.base import Job
from siwatsystem.detections import Classification, Detection
from siwatsystem.frames import Image
from siwatsystem.pipeline.events import Event
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.pipeline.trace import Trace
from siwatsystem.testing import FakeModel
from tests.scripted import CAR, CONTEXT, FRONTAL, PICTURE, SAVE, Bench, branch, root, said, update

OTHER = Detection("Car", 0.8, (130, 20, 195, 80))


class Script:
    """A model that says what it was told to say next; the last word again and again."""

    def __init__(self, *words: str) -> None:
        self.words = list(words)
        self.asked = 0

    def __call__(self, image: Image) -> Classification:
        word = self.words[min(self.asked, len(self.words) - 1)]
        self.asked += 1
        return Classification(word, 0.9)

    @property
    def model(self) -> FakeModel:
        return FakeModel(self, sorted(set(self.words)), "classify")


class Film:
    """A pipeline that is shown pictures half a second apart."""

    def __init__(
        self, threads: ThreadPoolExecutor, node: dict[str, Any], models: dict[str, FakeModel]
    ) -> None:
        self.boxes: Sequence[Detection] = ()
        self.bench = Bench(threads)
        detector = FakeModel(lambda image: tuple(self.boxes), ["Car", "Frontal"])
        self.pipeline = self.bench.pipeline(node, {"root": detector, **models})
        self.state = PipelineState()
        self.at = CONTEXT.captured_at
        self.trace = Trace()

    def show(self, *boxes: Detection, session_id: int | None = None) -> list[Event]:
        self.boxes = boxes
        self.at += 0.5
        self.trace = Trace()
        context = replace(CONTEXT, captured_at=self.at, session_id=session_id)
        return self.pipeline.run(PICTURE, context, state=self.state, trace=self.trace)

    def new_jobs(self) -> list[Job]:
        """Jobs since the last call."""
        jobs = list(self.bench.outbox.jobs)
        self.bench.outbox.events.clear()
        return jobs

    def kinds(self) -> list[str]:
        return [job.kind for job in self.new_jobs()]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


ONCE = {"once": True}


def test_actions_run_once_per_car_and_messages_go_on(threads: ThreadPoolExecutor) -> None:
    film = Film(threads, root(objectClass="Car", tracking=ONCE, actions=[SAVE]), {})
    seen = [film.show(CAR) for _ in range(6)]
    assert film.kinds() == ["redis_save_image"]
    assert [event.tracker_id for events in seen[1:] for event in events] == [1] * 5
    film.show(CAR, OTHER)
    film.show(CAR, OTHER)
    assert film.kinds() == ["redis_save_image"]


def test_without_once_every_picture_acts(threads: ThreadPoolExecutor) -> None:
    film = Film(threads, root(objectClass="Car", tracking={}, actions=[SAVE]), {})
    for _ in range(3):
        film.show(CAR)
    assert film.kinds() == ["redis_save_image"] * 3


def test_nothing_at_all_before_it_is_stable(threads: ThreadPoolExecutor) -> None:
    brand = Script("Aster")
    node = root(
        objectClass="Car", tracking={"stabilityThreshold": 3}, actions=[SAVE], branches=[branch("brand")]
    )
    film = Film(threads, node, {"brand": brand.model})
    assert [film.show(CAR) for _ in range(2)] == [[], []]
    assert (film.kinds(), brand.asked) == ([], 0)
    assert [box.tracker_id for box in film.trace.seen] == [None]
    (event,) = film.show(CAR)
    assert (event.tracker_id, film.kinds(), brand.asked) == (1, ["redis_save_image"], 1)


def test_a_brand_settles_by_votes_and_is_asked_no_more(threads: ThreadPoolExecutor) -> None:
    brand = Script("Borel", "Aster", "Aster", "Borel", "Borel")
    node = root(objectClass="Car", tracking=ONCE, branches=[branch("brand")])
    film = Film(threads, node, {"brand": brand.model})
    told = [event.attributes["carBrand"] for _ in range(8) for event in film.show(CAR)]
    assert told[0] == "Borel"
    assert set(told[2:]) == {"Aster"}
    assert brand.asked == 3
    assert film.show(CAR)[0].attributes["carBrandSupport"] == pytest.approx(2 / 3, abs=1e-3)
    assert film.trace.steps[-1].reason == "its votes have settled"


def test_a_record_is_written_once_and_corrected_until_the_vote_settles(threads: ThreadPoolExecutor) -> None:
    brand = Script("Borel", "Aster", "Aster", "Borel")
    node = root(
        objectClass="Car",
        multiClass=True,
        expectedClasses=["Car", "Frontal"],
        tracking=ONCE,
        branches=[branch("brand", "Frontal")],
        parallelActions=[update("brand", car_brand="{brand.brand}")],
    )
    film = Film(threads, node, {"brand": brand.model})
    written: list[list[tuple[str, Any]]] = []
    for _ in range(8):
        film.show(CAR, FRONTAL)
        written.append([(job.kind, job.payload.get("fields")) for job in film.new_jobs()])
    said_so = [step for step in written if step]
    assert said_so == [
        [
            ("postgresql_initial_record", None),
            ("postgresql_update_combined", {"car_brand": "Borel"}),
        ],
        [("postgresql_update_combined", {"car_brand": "Aster"})],
    ]


def test_one_session_per_car(threads: ThreadPoolExecutor) -> None:
    node = root(
        objectClass="Car",
        multiClass=True,
        expectedClasses=["Car"],
        tracking={},
        parallelActions=[update(car_brand="{session_id}")],
    )
    film = Film(threads, node, {})
    film.show(CAR, OTHER)
    both = [film.show(CAR, OTHER) for _ in range(3)]
    sessions = {event.tracker_id: event.session_id for event in both[0]}
    assert len(set(sessions.values())) == 2
    assert all(event.session_id == sessions[event.tracker_id] for events in both for event in events)


def test_a_displays_session_is_that_of_all_its_cars(threads: ThreadPoolExecutor) -> None:
    node = root(objectClass="Car", multiClass=True, expectedClasses=["Car"], tracking=ONCE)
    film = Film(threads, node, {})
    for _ in range(3):
        events = film.show(CAR, OTHER, session_id=7)
    assert {event.session_id for event in events} == {7}
    jobs = film.new_jobs()
    assert {job.payload["session_id"] for job in jobs} == {"7"}
    assert len(jobs) == 2


def test_what_was_said_earlier_is_told_while_the_front_is_hidden(threads: ThreadPoolExecutor) -> None:
    node = root(
        objectClass="Car",
        tracking={},
        branches=[branch("brand", "Frontal")],
        parallelActions=[update("brand", car_brand="{brand.brand}")],
    )
    film = Film(threads, node, {"brand": said("Aster")})
    assert film.show(CAR) == []  # what the record waits for is not about to run
    film.show(CAR, FRONTAL)
    (hidden,) = film.show(CAR)
    assert hidden.attributes["carBrand"] == "Aster"
    assert hidden.branches["brand"].boxes == ()


def test_a_message_that_names_votes_waits_until_they_settle(threads: ThreadPoolExecutor) -> None:
    message = '{"brand": "{brand.brand}", "support": {brand.support}}'
    publish = {"type": "redis_publish", "channel": "cars", "message": message}
    node = root(objectClass="Car", tracking=ONCE, branches=[branch("brand")], parallelActions=[publish])
    film = Film(threads, node, {"brand": Script("Borel", "Aster", "Aster").model})
    counts: list[int] = []
    jobs: list[Job] = []
    for _ in range(6):
        film.show(CAR)
        new = film.new_jobs()
        counts.append(len(new))
        jobs += new
    assert counts.count(1) == 1
    sent = json.loads(jobs[0].payload["message"])
    assert (sent["brand"], sent["support"]) == ("Aster", pytest.approx(2 / 3))


def test_a_message_is_sent_at_last_when_the_car_is_gone(threads: ThreadPoolExecutor) -> None:
    publish = {"type": "redis_publish", "channel": "cars", "message": '{"brand": "{brand.brand}"}'}
    node = root(objectClass="Car", tracking=ONCE, branches=[branch("brand")], parallelActions=[publish])
    film = Film(threads, node, {"brand": Script("Borel").model})
    film.show(CAR)
    film.show(CAR)
    assert film.kinds() == []
    for _ in range(20):
        film.show()
    (job,) = film.new_jobs()
    assert json.loads(job.payload["message"])["brand"] == "Borel"


def test_a_message_is_sent_at_last_when_no_more_pictures_come(threads: ThreadPoolExecutor) -> None:
    publish = {"type": "redis_publish", "channel": "cars", "message": '{"brand": "{brand.brand}"}'}
    node = root(objectClass="Car", tracking=ONCE, branches=[branch("brand")], parallelActions=[publish])
    film = Film(threads, node, {"brand": Script("Borel").model})
    film.show(CAR)
    film.show(CAR)
    film.pipeline.finish(film.state, CONTEXT)
    film.pipeline.finish(film.state, CONTEXT)
    assert film.kinds() == ["redis_publish"]


def test_votes_wait_as_long_as_the_node_says(threads: ThreadPoolExecutor) -> None:
    brand = Script("Aster")
    voting = {"minVotes": 5, "minShare": 0.8}
    node = root(objectClass="Car", tracking=ONCE, branches=[branch("brand", voting=voting)])
    film = Film(threads, node, {"brand": brand.model})
    for _ in range(10):
        film.show(CAR)
    assert brand.asked == 5


def test_a_nested_node_that_is_never_reached_does_not_keep_its_parent_running(
    threads: ThreadPoolExecutor,
) -> None:
    above = Script("Truck")
    below = branch("axles", "Bus")
    node = root(
        objectClass="Car", tracking=ONCE, branches=[branch("kind", branches=[below], voting={"maxVotes": 4})]
    )
    below["voting"] = {"maxVotes": 4}
    film = Film(threads, node, {"kind": above.model, "axles": said("3")})
    for _ in range(12):
        film.show(CAR)
    assert above.asked == 4


def test_a_tracked_branch_gives_the_boxes_it_finds_ids_of_their_own(threads: ThreadPoolExecutor) -> None:
    plates = FakeModel((Detection("Plate", 0.9, (10, 30, 40, 40)),), ["Plate"])
    node = root(
        objectClass="Car",
        tracking={},
        branches=[branch("plate", tracking={"stabilityThreshold": 2}, actions=[SAVE | {"region": "Plate"}])],
    )
    film = Film(threads, node, {"plate": plates})
    results: list[int | None] = []
    saved: list[int] = []
    for _ in range(5):
        events = film.show(CAR, OTHER)
        results += [one.branches["plate"].tracker_id for one in events if "plate" in one.branches]
        saved.append(len(film.new_jobs()))
    assert set(results) == {1, 2}
    assert sum(saved) == 2  # once per plate


def test_states_of_two_cameras_know_nothing_of_each_other(threads: ThreadPoolExecutor) -> None:
    film = Film(threads, root(objectClass="Car", tracking=ONCE, actions=[SAVE]), {})
    for _ in range(3):
        film.show(CAR)
    assert film.kinds() == ["redis_save_image"]
    film.state = PipelineState()
    for _ in range(3):
        (event,) = film.show(CAR) or [None]
    assert event is not None
    assert event.tracker_id == 1
    assert film.kinds() == ["redis_save_image"]


def test_whatever_is_told_can_have_a_track(threads: ThreadPoolExecutor) -> None:
    film = Film(threads, root(objectClass="Car", minConfidence=0.2, tracking={}), {})
    unsure = replace(CAR, confidence=0.21)
    film.show(unsure)
    (event,) = film.show(unsure)
    assert event.tracker_id == 1
    strict = {"config": {"new_track_thresh": 0.5}}
    film = Film(threads, root(objectClass="Car", minConfidence=0.2, tracking=strict), {})
    film.show(unsure)
    assert film.show(unsure) == []  # what no track can begin with is no object


def plates(below: FakeModel) -> tuple[dict[str, Any], dict[str, FakeModel]]:
    """A car's plate, followed itself, and what is said of it."""
    plate = branch("plate", tracking={}, branches=[branch("kind", "Plate", resultField="kind")])
    detector = FakeModel((Detection("Plate", 0.9, (10, 30, 40, 40)),), ["Plate"])
    return plate, {"plate": detector, "kind": below}


def test_what_is_known_of_a_part_is_known_of_the_whole(threads: ThreadPoolExecutor) -> None:
    plate, models = plates(said("private"))
    plate["triggerClasses"] = ["Frontal"]
    publish = {"type": "redis_publish", "channel": "cars", "message": '{"kind": "{kind.kind}"}'}
    node = root(
        objectClass="Car",
        multiClass=True,
        expectedClasses=["Car"],
        tracking=ONCE,
        branches=[plate],
        parallelActions=[update("kind", license_type="{kind.kind}"), publish],
    )
    film = Film(threads, node, models)
    for _ in range(8):
        (event,) = film.show(CAR, FRONTAL)
    assert event.attributes["kind"] == "private"
    assert len(models["plate"].seen) < 8  # plate and kind have settled: nobody is asked any more
    assert len(models["kind"].seen) == 3
    (hidden,) = film.show(CAR)
    assert hidden.attributes["kind"] == "private"
    kinds = film.kinds()
    assert kinds.count("redis_publish") == 1
    assert kinds.count("postgresql_update_combined") == 1


def test_a_nested_node_is_triggered_by_what_was_voted(threads: ThreadPoolExecutor) -> None:
    trucks = branch("axles", "Truck")
    node = root(objectClass="Car", tracking={}, branches=[branch("kind", branches=[trucks])])
    kind = Script("Bus", "Bus", "Bus", "Truck")
    film = Film(threads, node, {"kind": kind.model, "axles": said("3")})
    for _ in range(5):
        (event,) = film.show(CAR)
    assert event.branches["kind"].class_name == "Bus"
    assert "axles" not in event.branches


def test_a_record_goes_over_to_the_session_that_its_display_gets(threads: ThreadPoolExecutor) -> None:
    node = root(
        objectClass="Car",
        multiClass=True,
        expectedClasses=["Car"],
        tracking=ONCE,
        branches=[branch("brand")],
        parallelActions=[update("brand", car_brand="{brand.brand}")],
        actions=[SAVE],
    )
    film = Film(threads, node, {"brand": said("Aster")})
    film.show(CAR)
    film.show(CAR)
    film.new_jobs()
    (event,) = film.show(CAR, session_id=7)
    assert event.session_id == 7
    jobs = film.new_jobs()
    assert [job.kind for job in jobs] == ["postgresql_initial_record", "postgresql_update_combined"]
    assert [job.payload.get("session_id") or job.payload["key_value"] for job in jobs] == ["7", "7"]
    (event,) = film.show(CAR, session_id=8)
    assert event.session_id == 7  # a later one is another car's visit
    assert film.kinds() == []


def test_a_late_message_names_the_image_and_keeps_its_order(threads: ThreadPoolExecutor) -> None:
    message = '{"brand": "{brand.brand}", "image_key": "{image_key}"}'
    publish = {"type": "redis_publish", "channel": "cars", "message": message}
    node = root(objectClass="Car", tracking=ONCE, branches=[branch("brand")], parallelActions=[SAVE, publish])
    film = Film(threads, node, {"brand": said("Aster")})
    film.show(CAR, session_id=7)
    film.show(CAR, session_id=7)
    film.pipeline.finish(film.state, CONTEXT)
    events = list(film.bench.outbox.events)
    image, late = film.new_jobs()
    assert json.loads(late.payload["message"])["image_key"] == image.payload["key"]
    assert len({event.lane for event in events}) == 1


def test_a_branch_that_always_fails_is_not_asked_for_ever(threads: ThreadPoolExecutor) -> None:
    broken = FakeModel(RuntimeError("no"), ["Aster"], "classify")
    node = root(objectClass="Car", tracking=ONCE, branches=[branch("brand", voting={"maxVotes": 4})])
    film = Film(threads, node, {"brand": broken})
    for _ in range(10):
        film.show(CAR)
    assert len(broken.seen) == 4


def test_a_picture_on_which_the_model_fails_is_no_analysed_one(threads: ThreadPoolExecutor) -> None:
    film = Film(threads, root(objectClass="Car", tracking={"stabilityThreshold": 2}), {})
    film.show(CAR)
    film.pipeline.models["root"]._answers = {"exact": RuntimeError("no")}  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError):
        film.show(CAR)
    film.pipeline.models["root"]._answers = {"exact": (CAR,)}  # type: ignore[attr-defined]
    assert len(film.show(CAR)) == 1


def test_nothing_comes_of_a_picture_after_the_end(threads: ThreadPoolExecutor) -> None:
    film = Film(threads, root(objectClass="Car", tracking={}, actions=[SAVE]), {})
    film.show(CAR)
    film.new_jobs()
    film.pipeline.finish(film.state, CONTEXT)
    assert film.show(CAR) == []
    assert film.kinds() == []


def test_a_front_goes_to_the_car_that_holds_most_of_it(threads: ThreadPoolExecutor) -> None:
    near, far = Detection("Car", 0.9, (10, 20, 110, 95)), Detection("Car", 0.8, (60, 10, 120, 60))
    front = Detection("Frontal", 0.8, (40, 40, 95, 75))  # its centre lies in both
    film = Film(
        threads,
        root(objectClass="Car", tracking={}, branches=[branch("brand", "Frontal")]),
        {"brand": said("Aster")},
    )
    film.show(near, far, front)
    events = film.show(near, far, front)
    brands = {event.xyxy: event.attributes.get("carBrand") for event in events}
    assert brands == {near.xyxy: "Aster", far.xyxy: None}


def test_what_is_said_of_a_front_that_two_cars_may_own_is_no_vote(threads: ThreadPoolExecutor) -> None:
    near, far = Detection("Car", 0.9, (10, 20, 110, 95)), Detection("Car", 0.8, (60, 10, 120, 60))
    front = Detection("Frontal", 0.8, (40, 40, 95, 75))
    brand = Script("Borel", "Borel", "Borel", "Borel", "Aster")
    node = root(objectClass="Car", tracking={}, branches=[branch("brand", "Frontal")])
    film = Film(threads, node, {"brand": brand.model})
    for _ in range(4):
        film.show(near, far, front)
    (event,) = film.show(near, front)
    assert event.attributes["carBrand"] == "Aster"
    assert event.attributes["carBrandSupport"] == 1.0


def test_the_trace_says_why_nothing_is_done(threads: ThreadPoolExecutor) -> None:
    waits = update("brand", car_brand="{brand.brand}")
    node = root(
        objectClass="Car",
        tracking={"stabilityThreshold": 2},
        branches=[branch("brand", "Frontal")],
        parallelActions=[waits],
    )
    film = Film(threads, node, {"brand": said("Aster")})
    film.show(CAR)
    assert "not stable yet" in film.trace.steps[-1].reason
    film.show(CAR)
    assert "a record waits for brand" in film.trace.steps[-1].reason
