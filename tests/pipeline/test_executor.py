"""The eight steps of a frame, by value: scripted models, a recording outbox."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from siwatsystem.detections import Classification, Detection
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.memo import PredictionMemo
from siwatsystem.pipeline.spec import parse
from siwatsystem.testing import FakeModel
from tests.scripted import (
    CAR,
    FRONTAL,
    PICTURE,
    PUBLISH,
    SAVE,
    Bench,
    branch,
    detector,
    root,
    said,
    update,
)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with ThreadPoolExecutor(2) as threads:
        yield Bench(threads)


# --- step 1: detection


def test_only_trigger_classes_above_the_threshold_and_the_best_box_of_each(bench: Bench):
    worse = Detection("Car", 0.6, (0, 0, 9, 9))
    weak = Detection("Frontal", 0.49, (0, 0, 9, 9))
    other = Detection("Person", 0.99, (0, 0, 9, 9))
    model = FakeModel((other, CAR, worse, weak), ["Car", "Frontal", "Person"])
    (event,) = bench.run(root(), {"root": model})
    assert event.regions == {"Car": CAR}
    assert event.as_dict() == {
        "class": "Car",
        "confidence": 0.9,
        "id": None,
        "bbox": [10, 20, 110, 80],
        "branch_results": {},
        "session_id": None,
    }


def test_nothing_of_interest_is_no_event(bench: Bench):
    assert bench.run(root(), {"root": FakeModel((), ["Car"])}) == []
    assert bench.run(root(triggerClasses=["Bus"]), {"root": FakeModel((CAR,), ["Car"])}) == []


def test_the_result_is_the_most_confident_detection(bench: Bench):
    better = Detection("Frontal", 0.97, (1, 1, 9, 9))
    (event,) = bench.run(root(), {"root": detector(CAR, better)})
    assert event.class_name == "Frontal"


# --- step 2: expected classes


def test_one_expected_class_must_be_there(bench: Bench):
    node = root(multiClass=True, expectedClasses=["Frontal"], actions=[PUBLISH])
    assert bench.run(node, {"root": detector(CAR)}) == []
    assert bench.outbox.events == []
    assert len(bench.run(node, {"root": detector(CAR, FRONTAL)})) == 1


# --- step 3: branches that are waited for


def test_nothing_happens_at_all_when_a_branch_that_is_waited_for_will_not_run(bench: Bench):
    node = root(
        actions=[SAVE, PUBLISH],
        branches=[branch("brand", "Frontal"), branch("body", "Car")],
        parallelActions=[update("brand", "body", car_brand="{brand.brand}")],
    )
    models = {"root": detector(CAR), "brand": said("Aster"), "body": said("SUV")}
    assert bench.run(node, models) == []
    assert bench.outbox.events == []
    assert models["body"].seen == []


def test_a_branch_waits_for_a_region_of_its_own_confidence_and_crop_class(bench: Bench):
    wait = [update("brand", car_brand="{brand.brand}")]
    for keys in ({"minConfidence": 0.95}, {"cropClass": "Frontal"}):
        node = root(branches=[branch("brand", "Car", **keys)], parallelActions=wait)
        assert bench.run(node, {"root": detector(CAR), "brand": said("Aster")}) == []


# --- step 4: the initial record

RECORDED = root(multiClass=True, expectedClasses=["Car", "Frontal"], actions=[PUBLISH])


def test_the_record_needs_all_expected_classes_and_comes_first(bench: Bench):
    (partial,) = bench.run(RECORDED, {"root": detector(CAR)})
    assert bench.kinds == ["redis_publish"]
    assert partial.session_id is None
    (event,) = bench.run(RECORDED, {"root": detector(CAR, FRONTAL)})
    assert bench.kinds[1:] == ["postgresql_initial_record", "redis_publish"]
    record = bench.outbox.jobs[1]
    assert record.target == "P"
    assert record.payload["session_id"] == event.session_id
    assert len(str(event.session_id)) == 36
    assert record.payload["display_id"] == "display-1"


def test_the_session_of_the_display_names_the_record(bench: Bench):
    context = EventContext("display-1;cam-1", "display-1", 77, 0.0)
    (event,) = bench.run(RECORDED, {"root": detector(CAR, FRONTAL)}, context)
    assert event.session_id == 77
    assert bench.outbox.jobs[0].payload["session_id"] == "77"
    assert bench.outbox.events[0].lane == "77"


def test_two_events_without_session_are_two_visits(bench: Bench):
    for _ in range(2):
        bench.run(RECORDED, {"root": detector(CAR, FRONTAL)})
    first, second = (event.lane for event in bench.outbox.events)
    assert first != second


def test_without_a_database_there_is_no_record(bench: Bench):
    (event,) = bench.run({**RECORDED, "actions": []}, {"root": detector(CAR, FRONTAL)}, servers=False)
    assert event.session_id is None
    assert bench.outbox.events == []


# --- step 5: actions


def test_actions_run_in_order_and_the_image_is_known_to_the_message(bench: Bench):
    bench.run(root(actions=[SAVE, PUBLISH]), {"root": detector(CAR, FRONTAL)})
    save, publish = bench.outbox.jobs
    assert save.payload["key"].startswith("i:display-1:")
    message = json.loads(publish.payload["message"])
    assert message["image_key"] == save.payload["key"]
    assert message["display_id"] == "display-1"
    assert np.array_equal(save.blob.image, PICTURE[50:78, 20:60])  # type: ignore[union-attr]


def test_without_the_region_the_whole_frame_is_saved(bench: Bench):
    bench.run(root(actions=[SAVE]), {"root": detector(CAR)})
    assert bench.outbox.jobs[0].blob.image.shape == PICTURE.shape  # type: ignore[union-attr]


# --- step 6: branches


def test_a_branch_sees_its_crop_stretched_to_its_target(bench: Bench):
    node = root(branches=[branch("brand", "Frontal", resizeTarget=[64, 32]), branch("body", "Car")])
    models = {"root": detector(CAR, FRONTAL), "brand": said("Aster"), "body": said("SUV", 0.7)}
    (event,) = bench.run(node, models)
    assert models["brand"].seen[0].shape == (32, 64, 3)
    assert np.array_equal(models["body"].seen[0], PICTURE[20:80, 10:110])
    assert event.as_dict()["branch_results"] == {
        "brand": {"class": "Aster", "confidence": 0.95, "id": None, "brand": "Aster"},
        "body": {"class": "SUV", "confidence": 0.7, "id": None, "body_type": "SUV"},
    }
    assert event.attributes == {
        "carBrand": "Aster",
        "carBrandConfidence": 0.95,
        "bodyType": "SUV",
        "bodyTypeConfidence": 0.7,
    }


def test_the_crop_may_be_of_another_class_than_the_trigger_and_case_is_no_matter(bench: Bench):
    models = {"root": detector(CAR, FRONTAL), "body": said("SUV")}
    bench.run(root(branches=[branch("body", "frontal", cropClass="CAR")]), models)
    assert np.array_equal(models["body"].seen[0], PICTURE[20:80, 10:110])


def test_without_crop_a_branch_sees_the_picture(bench: Bench):
    models = {"root": detector(CAR), "scene": said("Night")}
    bench.run(root(branches=[branch("scene", "Car", crop=False)]), models)
    assert models["scene"].seen[0].shape == PICTURE.shape


def test_a_weak_region_triggers_nothing(bench: Bench):
    models = {"root": detector(Detection("Car", 0.6, CAR.xyxy)), "body": said("SUV")}
    (event,) = bench.run(root(branches=[branch("body", "Car", minConfidence=0.7)]), models)
    assert event.branches == {}
    assert models["body"].seen == []


def test_a_branch_that_fails_costs_only_its_own_result(bench: Bench):
    node = root(
        branches=[branch("brand", "Car", parallel=True), branch("body", "Car", parallel=True)],
        parallelActions=[
            update("brand", car_brand="{brand.brand}"),
            update("body", car_body_type="{body.body_type}"),
        ],
    )
    models = {"root": detector(CAR), "brand": FakeModel(RuntimeError("broken")), "body": said("SUV")}
    (event,) = bench.run(node, models, EventContext("d;c", "d", 5, 0.0))
    assert set(event.branches) == {"body"}
    (job,) = bench.outbox.jobs
    assert job.payload["fields"] == {"car_body_type": "SUV"}


def test_parallel_branches_run_side_by_side(bench: Bench):
    meeting = threading.Barrier(2, timeout=20)

    def meet(image: object) -> Classification:
        meeting.wait()
        return Classification("x", 1.0)

    models = {"root": detector(CAR)}
    models |= {name: FakeModel(meet, ["x"], "classify") for name in ("a", "b")}
    (event,) = bench.run(root(branches=[branch("a", parallel=True), branch("b", parallel=True)]), models)
    assert set(event.branches) == {"a", "b"}


def test_of_parallel_branches_the_thread_that_would_wait_does_the_last(bench: Bench):
    threads: dict[str, threading.Thread] = {}

    def said_by(name: str) -> FakeModel:
        def say(image: object) -> Classification:
            threads[name] = threading.current_thread()
            return Classification("x", 1.0)

        return FakeModel(say, ["x"], "classify")

    models = {"root": detector(CAR)} | {name: said_by(name) for name in ("a", "b", "c")}
    (event,) = bench.run(root(branches=[branch(name, parallel=True) for name in ("a", "b", "c")]), models)
    assert set(event.branches) == {"a", "b", "c"}
    assert threads["c"] is threading.current_thread()


def test_more_nested_parallel_branches_than_threads_do_not_wait_for_each_other(bench: Bench):
    def tree(depth: int, path: str) -> list[dict[str, Any]]:
        return [
            branch(f"{path}{n}", parallel=True, branches=tree(depth - 1, f"{path}{n}"))
            for n in range(3 if depth else 0)
        ]

    node = root(branches=tree(3, "n"))
    names = [found.model_id for found in parse({"pipeline": node}).pipeline.walk()]
    whole = Detection("Car", 0.9, (0, 0, 50, 50))
    (event,) = bench.run(node, {name: detector(CAR if name == "root" else whole) for name in names})
    assert len(event.branches) == 3 + 9 + 27


def test_boxes_found_in_a_crop_are_mapped_back_to_the_picture(bench: Bench):
    plate = Detection("Plate", 0.9, (10, 5, 30, 15))
    models = {"root": detector(CAR), "plate": FakeModel((plate,), ["Plate"])}
    (event,) = bench.run(root(branches=[branch("plate", resizeTarget=[200, 120])]), models)
    (box,) = event.branches["plate"].boxes
    assert box.xyxy == (10 + 5, 20 + 2.5, 10 + 15, 20 + 7.5)


def test_a_detecting_branch_keeps_its_trigger_classes_where_its_model_has_them(bench: Bench):
    boxes = (Detection("Car", 0.6, (0, 0, 5, 5)), Detection("Wheel", 0.9, (0, 0, 5, 5)))
    node = root(branches=[branch("parts")])
    (event,) = bench.run(node, {"root": detector(CAR), "parts": FakeModel(boxes, ["Car", "Wheel"])})
    assert event.branches["parts"].class_name == "Car"
    (event,) = bench.run(node, {"root": detector(CAR), "parts": FakeModel(boxes[1:], ["Wheel"])})
    assert event.branches["parts"].class_name == "Wheel"


def test_branches_of_branches_run_on_what_those_found(bench: Bench):
    plate = Detection("Plate", 0.9, (10, 10, 30, 20))
    nested = branch("kind", "Plate", resultField="plate_kind", attribute="licensePlateType")
    models = {"root": detector(CAR), "plate": FakeModel((plate,), ["Plate"]), "kind": said("Taxi")}
    (event,) = bench.run(root(branches=[branch("plate", branches=[nested])]), models)
    assert np.array_equal(models["kind"].seen[0], PICTURE[30:40, 20:40])
    assert event.as_dict()["branch_results"]["kind"]["plate_kind"] == "Taxi"
    assert event.attributes["licensePlateType"] == "Taxi"


def test_characters_are_read_row_by_row(bench: Bench):
    places = (("3", 30, 21), ("A", 10, 2), ("B", 20, 0), ("1", 12, 20), ("2", 21, 22))
    boxes = tuple(Detection(text, 0.9, (x, y, x + 8, y + 10)) for text, x, y in places)
    node = root(branches=[branch("plate", readText=True, attribute="licensePlateText")])
    model = FakeModel(boxes, [box.class_name for box in boxes])
    (event,) = bench.run(node, {"root": detector(CAR), "plate": model})
    assert event.attributes["licensePlateText"] == "AB123"


def test_an_unsure_classification_yields_nothing(bench: Bench):
    node = root(branches=[branch("brand", minResultConfidence=0.8)])
    (event,) = bench.run(node, {"root": detector(CAR), "brand": said("Aster", 0.79)})
    assert event.branches == {}


# --- step 7: parallelActions


def test_the_combined_update_comes_last_with_the_values_of_its_branches(bench: Bench):
    fields = {"car_brand": "{brand.brand}", "car_body_type": "{body.class}", "updated_at": "NOW()"}
    node = root(
        multiClass=True,
        expectedClasses=["Car", "Frontal"],
        actions=[SAVE],
        branches=[branch("brand", "Frontal", actions=[PUBLISH]), branch("body")],
        parallelActions=[update("brand", "body", **fields)],
    )
    models = {"root": detector(CAR, FRONTAL), "brand": said("Aster"), "body": said("SUV")}
    (event,) = bench.run(node, models)
    assert bench.kinds == [
        "postgresql_initial_record",
        "redis_save_image",
        "redis_publish",
        "postgresql_update_combined",
    ]
    payload = bench.outbox.jobs[-1].payload
    assert payload["key_value"] == event.session_id
    assert payload["fields"] == {"car_brand": "Aster", "car_body_type": "SUV"}
    assert payload["now"] == ["updated_at"]
    assert len(bench.outbox.events) == 1


def test_an_update_whose_branch_gave_nothing_is_not_made(bench: Bench):
    node = root(
        branches=[branch("brand", minResultConfidence=0.99)],
        parallelActions=[update("brand", car_brand="{brand.brand}")],
    )
    bench.run(node, {"root": detector(CAR), "brand": said("Aster", 0.5)})
    assert bench.outbox.events == []


# --- objects


def test_every_object_is_an_event_with_its_own_parts(bench: Bench):
    left, right = Detection("Car", 0.8, (0, 0, 90, 90)), Detection("Car", 0.9, (100, 0, 190, 90))
    front = Detection("Frontal", 0.7, (120, 50, 160, 80))
    node = root(objectClass="Car", actions=[PUBLISH], branches=[branch("brand", "Frontal")])
    first, second = bench.run(node, {"root": detector(left, right, front), "brand": said("Aster")})
    assert (first.xyxy, first.attributes["carBrand"]) == (right.xyxy, "Aster")
    assert (second.xyxy, second.attributes) == (left.xyxy, {})
    assert first.regions == {"Car": right, "Frontal": front}
    assert len(bench.outbox.events) == 2


def test_a_part_belongs_to_the_box_that_fits_best(bench: Bench):
    outer, inner = Detection("Car", 0.9, (0, 0, 190, 90)), Detection("Car", 0.8, (50, 0, 120, 90))
    front = Detection("Frontal", 0.7, (60, 50, 100, 80))
    first, second = bench.run(root(objectClass="Car"), {"root": detector(outer, inner, front)})
    assert "Frontal" not in first.regions
    assert second.regions["Frontal"] == front


# --- sharing


def test_subscriptions_of_one_frame_share_the_answers_of_the_models(bench: Bench):
    models = {"root": detector(CAR), "body": said("SUV")}
    pipeline = bench.pipeline(root(actions=[PUBLISH], branches=[branch("body")]), models)
    memo = PredictionMemo()
    for display in ("a", "b", "c"):
        pipeline.run(PICTURE, EventContext(f"{display};c", display, None, 0.0), memo=memo)
    assert len(models["root"].seen) == len(models["body"].seen) == 1
    displays = [json.loads(job.payload["message"])["display_id"] for job in bench.outbox.jobs]
    assert displays == ["a", "b", "c"]


def test_a_root_that_fails_is_told_to_the_caller(bench: Bench):
    with pytest.raises(RuntimeError, match="broken"):
        bench.run(root(), {"root": FakeModel(RuntimeError("broken"))})


def test_an_update_may_wait_for_a_branch_of_a_branch(bench: Bench):
    inner = branch("year", "Honda", resultField="year")
    node = root(
        branches=[branch("brand", "Frontal", branches=[inner])],
        parallelActions=[update("year", car_year="{year.year}")],
    )
    models = {"root": detector(CAR, FRONTAL), "brand": said("Honda"), "year": said("2024")}
    bench.run(node, models, EventContext(session_id=7))
    assert [job.payload["fields"] for job in bench.outbox.jobs] == [{"car_year": "2024"}]
    assert bench.run(node, {**models, "root": detector(CAR)}) == []


LEFT, RIGHT = Detection("Car", 0.8, (0, 0, 90, 90)), Detection("Car", 0.9, (100, 0, 190, 90))


def test_crops_of_several_objects_are_asked_together_where_a_model_takes_them_together(bench: Bench):
    meeting = threading.Barrier(2, timeout=20)

    def meet(image: np.ndarray) -> Classification:
        meeting.wait()
        return Classification("Aster", 0.9)

    brand = FakeModel(meet, ["Aster"], "classify")
    brand.batch_size = 16
    node = root(objectClass="Car", branches=[branch("brand")])
    events = bench.run(node, {"root": detector(LEFT, RIGHT), "brand": brand})
    assert [event.attributes["carBrand"] for event in events] == ["Aster", "Aster"]
    assert len(brand.seen) == 2


def test_nothing_is_asked_together_that_would_not_be_asked_at_all(bench: Bench):
    brand, body = said("Aster"), said("SUV")
    brand.batch_size = body.batch_size = 16
    front = Detection("Frontal", 0.7, (120, 50, 160, 80))
    branches = [branch("brand", "Frontal"), branch("body")]
    waits = update("brand", car_brand="{brand.brand}")
    node = root(objectClass="Car", branches=branches, parallelActions=[waits])
    bench.run(node, {"root": detector(LEFT, RIGHT, front), "brand": brand, "body": body})
    assert (len(brand.seen), len(body.seen)) == (1, 1)


def test_a_model_that_fails_on_crops_asked_together_costs_only_its_results(bench: Bench):
    brand = FakeModel(RuntimeError("broken"), ["Aster"], "classify")
    brand.batch_size = 16
    node = root(objectClass="Car", branches=[branch("brand"), branch("body")])
    events = bench.run(node, {"root": detector(LEFT, RIGHT), "brand": brand, "body": said("SUV")})
    assert [set(event.branches) for event in events] == [{"body"}, {"body"}]
