from typing import Any

import pytest

from siwatsystem.pipeline.class_checks import check_classes, check_tasks, class_warnings
from siwatsystem.pipeline.sketch import sketch
from siwatsystem.pipeline.spec import bare_model, parse

NAMES = {"cars": ["Car", "Frontal", "Plate"], "brand": ["Aster", "Borel"]}


def node(model_id: str, **keys: Any) -> dict[str, Any]:
    return {"modelId": model_id, "modelFile": "m.pt", "minConfidence": 0.5, "triggerClasses": ["Car"], **keys}


def pipeline(branch: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    return {
        "pipeline": node("cars", branches=[] if branch is None else [branch], **keys),
        "redis": "embedded",
    }


def problems(data: dict[str, Any], names: dict[str, list[str]] | None = None) -> dict[str, str]:
    found = check_classes(parse(data), NAMES if names is None else names)
    return {problem.path: str(problem) for problem in found}


def save(region: str) -> dict[str, Any]:
    return {"type": "redis_save_image", "key": "k", "region": region}


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"triggerClasses": ["Car", "Frontl"]}, "triggerClasses[1]"),
        ({"multiClass": True, "expectedClasses": ["Frontl"]}, "expectedClasses[0]"),
        ({"objectClass": "Frontl"}, "objectClass"),
        ({"actions": [save("Car"), save("Frontl")]}, "actions[1].region"),
        ({"parallelActions": [save("Frontl")]}, "parallelActions[0].region"),
    ],
)
def test_a_class_that_the_roots_model_lacks_is_told_with_the_nearest(
    keys: dict[str, Any], place: str
) -> None:
    found = problems(pipeline(**keys))
    assert set(found) == {f"pipeline.{place}"}
    text = found[f"pipeline.{place}"]
    assert "no model here has a class 'Frontl'" in text
    assert "did you mean 'Frontal'?" in text
    assert "Car, Frontal, Plate" in text


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"triggerClasses": ["Bus"]}, "triggerClasses[0]"),
        ({"crop": True, "cropClass": "Aster"}, "cropClass"),
        ({"multiClass": True, "expectedClasses": ["Car"]}, "expectedClasses[0]"),
        ({"actions": [save("Bus")]}, "actions[0].region"),
    ],
)
def test_a_branch_is_held_to_its_parents_classes_and_its_own(keys: dict[str, Any], place: str) -> None:
    assert set(problems(pipeline(node("brand", **keys)))) == {f"pipeline.branches[0].{place}"}


def test_case_does_not_matter_and_a_branch_may_name_classes_of_its_own_model() -> None:
    branch = node("brand", triggerClasses=["CAR", "aster"], crop=True, cropClass="car", actions=[save("Car")])
    assert problems(pipeline(branch, triggerClasses=["car", "FRONTAL"], objectClass="cAr")) == {}


def test_a_root_that_classifies_and_branches_below_it_are_held_to_its_classes() -> None:
    data = {
        "pipeline": node("brand", triggerClasses=["Aster"], branches=[node("cars", triggerClasses=["Borel"])])
    }
    assert problems(data) == {}
    data["pipeline"]["branches"][0]["triggerClasses"] = ["Car"]
    assert problems(data) == {}
    assert "never runs" in class_warnings(parse(data), NAMES)[0]


def test_a_bare_model_is_right_about_its_own_classes() -> None:
    assert check_classes(bare_model("yolo.pt", ["car", "bus"]), {"yolo": ["car", "bus"]}) == []


def test_what_is_not_known_is_passed_over() -> None:
    branch = node("brand", triggerClasses=["Bus"], crop=True, cropClass="Bus", actions=[save("Bus")])
    data = pipeline(branch, triggerClasses=["Lorry"])
    assert problems(data, {}) == {}
    assert set(problems(data, {"brand": ["Aster"]})) == set()
    assert set(problems(data, {"cars": ["Car"]})) == {
        "pipeline.triggerClasses[0]",
        "pipeline.branches[0].cropClass",
    }


def test_a_hint_lists_no_thousand_classes() -> None:
    many = [f"class-{number}" for number in range(1000)]
    (text,) = problems(pipeline(), {"cars": many}).values()
    assert "and 988 more" in text
    assert len(text) < 400


def test_what_never_reaches_its_place_is_warned_of() -> None:
    branch = node("brand", triggerClasses=["Plate"], crop=True, cropClass="Frontal", actions=[save("Car")])
    assert class_warnings(parse(pipeline(branch)), NAMES) == [
        "pipeline.branches[0].triggerClasses: 'cars' does not keep 'Plate': it is not in its triggerClasses",
        "pipeline.branches[0].triggerClasses: none is a class that 'cars' finds, so this branch never runs",
        "pipeline.branches[0].cropClass: 'cars' does not keep 'Frontal', so this branch never runs",
        "pipeline.branches[0].actions[0].region: 'Car' is no class of this node's own model, "
        "so the whole picture is saved",
    ]
    assert class_warnings(parse(pipeline(node("brand"))), NAMES) == []


def test_a_branch_that_keeps_everything_lets_everything_trigger() -> None:
    inner = node("brand", triggerClasses=["Plate"])
    data = {"pipeline": node("root", branches=[node("cars", triggerClasses=["Bus"], branches=[inner])])}
    assert class_warnings(parse(data), NAMES) == []
    data["pipeline"]["branches"][0]["triggerClasses"] = ["Car"]
    assert len(class_warnings(parse(data), NAMES)) == 2


def test_a_sketch_of_a_wrong_file_has_its_classes_in_place() -> None:
    data = {
        "pipeline": {
            "modelId": "cars",
            "triggerClasses": ["Buss", 7],
            "minConfidence": "high",
            "actions": [{"type": "shell"}, save("Lorry")],
            "branches": ["x", {"modelId": "brand", "cropClass": "Fruntal", "branches": 3}],
        }
    }
    found = sketch(data)
    assert found is not None
    assert [problem.path for problem in check_classes(found, NAMES)] == [
        "pipeline.triggerClasses[0]",
        "pipeline.actions[1].region",
        "pipeline.branches[1].cropClass",
    ]


@pytest.mark.parametrize("data", [None, [], {}, {"pipeline": 3}])
def test_what_has_no_root_has_no_sketch(data: object) -> None:
    assert sketch(data) is None


def test_ids_that_are_there_twice_say_nothing_of_a_model() -> None:
    found = sketch(
        {"pipeline": {"modelId": "cars", "triggerClasses": ["Bus"], "branches": [{"modelId": "cars"}]}}
    )
    assert found is not None
    assert check_classes(found, NAMES) == []


def test_a_sketch_of_a_very_deep_file_ends() -> None:
    data: dict[str, Any] = {"modelId": "a"}
    for _ in range(5000):
        data = {"branches": [data]}
    assert sketch({"pipeline": data}) is not None


def test_what_only_detectors_can_do_is_not_asked_of_a_classifier() -> None:
    node: dict[str, Any] = {"modelFile": "m.pt", "minConfidence": 0.5, "triggerClasses": ["Car"]}
    below = {**node, "modelId": "brand", "readText": True, "tracking": {}}
    spec = parse({"pipeline": {**node, "modelId": "cars", "tracking": {}, "branches": [below]}})
    found = check_tasks(spec, {"cars": "detect", "brand": "classify"})
    assert [problem.path for problem in found] == [
        "pipeline.branches[0].tracking",
        "pipeline.branches[0].readText",
    ]
    assert check_tasks(spec, {"cars": "detect"}) == []
