import copy
import json
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.errors import ModelInvalid
from siwatsystem.pipeline.spec import PipelineInvalid, PipelineSpec, bare_model, parse
from siwatsystem.pipeline.warnings import warnings_of

DEMO = json.loads((Path(__file__).parents[2] / "demo" / "pipeline.json").read_text())
FILES = [
    f"car_{name}.pt" for name in ("frontal_detection", "brand_classification", "bodytype_classification")
]
NODE: dict[str, Any] = {"modelId": "a", "modelFile": "a.pt", "minConfidence": 0.5, "triggerClasses": ["Car"]}


def demo() -> dict[str, Any]:
    return copy.deepcopy(DEMO)


def node(**changes: Any) -> dict[str, Any]:
    return NODE | changes


def problems(data: object, files: list[str] | None = None) -> dict[str, str]:
    with pytest.raises(PipelineInvalid) as caught:
        parse(data, files)
    return {problem.path: str(problem) for problem in caught.value.problems}


def test_the_demo_is_read_without_a_complaint() -> None:
    spec = parse(demo(), FILES)
    root = spec.pipeline
    assert warnings_of(spec) == []
    assert [found.model_id for found in root.walk()] == [file.removesuffix(".pt") for file in FILES]
    assert spec.files == FILES
    assert (root.object_class, root.multi_class, root.crop) == ("Car", True, False)
    assert root.branches[0].resize_target == (96, 96)
    assert root.actions[0].type == "redis_save_image"
    assert root.parallel_actions[0].type == "postgresql_update_combined"
    assert (spec.redis, spec.postgresql) == ("embedded", "embedded")


@pytest.mark.parametrize(
    ("model_id", "result", "attribute"),
    [
        ("car_brand_classification", "brand", "carBrand"),
        ("car_bodytype_classification", "body_type", "bodyType"),
        ("BodyStyle-v2", "body_type", "bodyType"),
        ("carColor", "color", "color"),
        ("car_model_v2", "model", "carModel"),
        ("YEAR", "year", "carYear"),
        ("remodelled", None, None),
        ("plates", None, None),
    ],
)
def test_names_come_from_the_words_of_the_model_id(model_id: str, result: str, attribute: str) -> None:
    found = parse({"pipeline": node(modelId=model_id)}).pipeline
    assert (found.result_name, found.attribute_name) == (result, attribute)


def test_names_that_are_given_win() -> None:
    found = parse({"pipeline": node(modelId="brand", resultField="maker_name")}).pipeline
    assert (found.result_name, found.attribute_name) == ("maker_name", "makerName")
    found = parse({"pipeline": node(resultField="text", attribute="licensePlateText")}).pipeline
    assert (found.result_name, found.attribute_name) == ("text", "licensePlateText")


def test_every_mistake_is_told_at_once_with_its_path() -> None:
    data = demo()
    root = data["pipeline"]
    del root["modelFile"], data["redis"]
    root["triggerClasses"] = "Car"
    root["branches"][0]["minConfidence"] = True
    root["branches"][1]["modelId"] = root["modelId"]
    root["actions"][1]["message"] = '{"a": "{sesion_id}"}'
    root["parallelActions"][0]["waitForBranches"] = ["car_colour"]
    root["tracking"] = {"zone": [[0, 0], [1, 1]], "method": "strongsort"}
    found = problems(data, FILES[:2])
    assert set(found) == {
        "pipeline.modelFile",
        "pipeline.triggerClasses",
        "pipeline.branches[0].minConfidence",
        "pipeline.branches[1].modelId",
        "pipeline.branches[1].modelFile",
        "pipeline.actions[0]",
        "pipeline.actions[1]",
        "pipeline.actions[1].message",
        "pipeline.parallelActions[0].waitForBranches[0]",
        "pipeline.parallelActions[0].fields.car_body_type",
        "pipeline.tracking.zone",
        "pipeline.tracking.reidModel",
    }
    assert "must be a list, not a text" in found["pipeline.triggerClasses"]
    assert "did you mean {session_id}?" in found["pipeline.actions[1].message"]
    assert "is no branch of this node" in found["pipeline.parallelActions[0].waitForBranches[0]"]
    assert "at least 3 entries, not 2" in found["pipeline.tracking.zone"]


def test_the_message_shows_ten_and_counts_the_rest() -> None:
    data = {"pipeline": node(branches=[{"modelId": str(number)} for number in range(5)])}
    with pytest.raises(ModelInvalid) as caught:
        parse(data)
    assert "pipeline.branches[0].modelFile: is missing; " in caught.value.message
    assert caught.value.message.endswith("and 5 more")
    assert (caught.value.code, caught.value.permanent) == ("model_invalid", True)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"minConfidence": 1.5}, "minConfidence"),
        ({"minConfidence": "0.5"}, "minConfidence"),
        ({"minConfidence": float("nan")}, "minConfidence"),
        ({"modelId": ""}, "modelId"),
        ({"modelFile": "../a.pt"}, "modelFile"),
        ({"modelFile": "/etc/passwd"}, "modelFile"),
        ({"crop": "yes"}, "crop"),
        ({"resizeTarget": [64]}, "resizeTarget[1]"),
        ({"resizeTarget": [64.5, 64]}, "resizeTarget[0]"),
        ({"resultField": "confidence"}, "resultField"),
        ({"branches": {"modelId": "b"}}, "branches"),
        ({"tracking": {"stabilityThreshold": -1}}, "tracking.stabilityThreshold"),
        ({"tracking": {"method": "sort"}}, "tracking.method"),
        ({"tracking": {"config": {"with_reid": True}}}, "tracking.reidModel"),
        ({"actions": [{"type": "shell"}]}, "actions[0].type"),
        ({"actions": [{"type": "postgresql_update_combined"}]}, "actions[0].type"),
        ({"actions": [{}]}, "actions[0].type"),
        ({"actions": [7]}, "actions[0]"),
        ({"actions": [{"type": "redis_publish", "channel": "c"}]}, "actions[0].message"),
    ],
)
def test_a_wrong_value_is_an_error_at_its_place(change: dict[str, Any], path: str) -> None:
    assert set(problems({"pipeline": node(**change)})) == {f"pipeline.{path}"}


@pytest.mark.parametrize("data", [None, [], "x", 3, {}, {"pipeline": None}, {"pipeline": []}])
def test_what_is_no_pipeline_is_an_error(data: object) -> None:
    assert len(problems(data)) == 1


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    data: Any = []
    for _ in range(100_000):
        data = [data]
    assert "deeper than" in problems({"pipeline": node(x=data)})[""]
    while data:
        data = data.pop()


def test_a_publish_that_needs_redis_says_so() -> None:
    action = {"type": "redis_publish", "channel": "c", "message": "m"}
    found = problems({"pipeline": node(actions=[action]), "postgresql": "embedded"})
    assert '"redis": "embedded"' in found["pipeline.actions[0]"]
    assert parse({"pipeline": node(actions=[action]), "redis": {"host": "h", "port": 1}})


def test_brokers_and_receivers_are_checked_at_their_places() -> None:
    actions: list[dict[str, Any]] = [
        {"type": "mqtt_publish", "topic": "cars/#", "message": "m"},
        {"type": "mqtt_publish", "topic": "{nowhere}", "message": "m"},
        {"type": "kafka_publish", "topic": "cars", "key": "{nowhere}", "message": "m"},
        {"type": "webhook", "url": "http://169.254.169.254/zqSecret", "message": "m"},
        {"type": "webhook", "url": "https://hooks.example/", "message": "{nowhere}"},
    ]
    data = {"pipeline": node(actions=actions), "mqtt": {"host": "169.254.169.254"}}
    found = problems(data)
    assert "no topic to publish on" in found["pipeline.actions[0].topic"]
    assert "is in no context" in found["pipeline.actions[1].topic"]
    assert "needs 'kafka'" in found["pipeline.actions[2]"]
    assert "is in no context" in found["pipeline.actions[2].key"]
    assert "may not be connected to" in found["pipeline.actions[3].url"]
    assert "is in no context" in found["pipeline.actions[4].message"]
    assert "may not be connected to" in found["mqtt.host"]
    assert "zqSecret" not in str(found)
    data = {"pipeline": node(actions=actions[4:]), "kafka": {"bootstrap_servers": "kafka"}}
    assert "host:port" in problems(data)["kafka.bootstrap_servers"]


def test_placeholders_of_any_node_and_the_context_are_known() -> None:
    names = ["class", "confidence", "id", "timestamp", "timestamp_ms", "uuid", "filename", "camera_id"]
    names += ["display_id", "session_id", "image_key", "car_brand.brand", "car_brand.class", "a.id"]
    message = " ".join(f"{{{name}}}" for name in names) + ' {"plain": {"json": 1}}'
    action = {"type": "redis_publish", "channel": "c", "message": message}
    branch = node(modelId="car_brand")
    data = {"pipeline": node(branches=[branch], parallelActions=[action]), "redis": "embedded"}
    assert warnings_of(parse(data)) == []
    action["message"] = "{car_brand.body_type}"
    assert set(problems(data)) == {"pipeline.parallelActions[0].message"}


def test_records_may_wait_for_branches_of_branches_but_not_for_others() -> None:
    action = {
        "type": "postgresql_update_combined",
        "table": "t",
        "key_field": "k",
        "fields": {"x": 1},
        "waitForBranches": ["c"],
    }
    below = node(modelId="b", branches=[node(modelId="c")])
    data = {"pipeline": node(branches=[below], parallelActions=[action]), "postgresql": "embedded"}
    assert warnings_of(parse(data)) == []
    below["parallelActions"] = [action | {"waitForBranches": ["a"]}]
    assert set(problems(data)) == {"pipeline.branches[0].parallelActions[0].waitForBranches[0]"}


def test_files_in_folders_and_of_trackers_are_looked_for() -> None:
    tracking = {"method": "botsort", "reidModel": "reid.onnx"}
    data = {"pipeline": node(modelFile="net_openvino", tracking=tracking)}
    spec = parse(data, ["net_openvino/net.xml", "net_openvino/net.bin", "reid.onnx"])
    assert spec.files == ["net_openvino", "reid.onnx"]
    assert set(problems(data, ["net_openvino.xml"])) == {"pipeline.modelFile", "pipeline.tracking.reidModel"}


def test_unknown_keys_and_empty_settings_are_warned_of() -> None:
    action = {"type": "redis_publish", "channel": "c", "message": "{car_brand.brand}", "chanel": 1}
    data = {
        "version": 2,
        "redis": {"host": "h", "port": 6379, "pasword": "x"},
        "pipeline": node(
            min_confidence=0.4,
            actions=[action],
            expectedClasses=["Car"],
            branches=[node(modelId="car_brand", cropClass="Car", colour=1)],
        ),
    }
    assert warnings_of(parse(data)) == [
        "version: unknown key",
        "pipeline.min_confidence: unknown key",
        "pipeline.branches[0].colour: unknown key",
        "pipeline.actions[0].chanel: unknown key",
        "redis.pasword: unknown key",
        "pipeline.expectedClasses: has no effect without multiClass",
        "pipeline.actions[0].message: {car_brand.brand} is not known yet when this action runs",
        "pipeline.branches[0].cropClass: has no effect without crop",
    ]


def test_tracking_is_checked() -> None:
    tracking = {"method": "strongsort", "reidModel": "r.onnx", "zone": [[0, 0], [1, 0], [1, 0.5]]}
    spec = parse({"pipeline": node(tracking=tracking | {"stabilityThreshold": 3})})
    found = spec.pipeline.tracking
    assert found is not None
    assert found.acts_once
    assert found.asks_for_appearance
    assert any("botsort" in warning for warning in warnings_of(spec))


def test_a_bare_model_is_a_tracked_node_with_all_its_classes() -> None:
    root = bare_model("weights/yolo.pt", ["car", "bus", "car"]).pipeline
    assert (root.model_id, root.model_file, root.min_confidence) == ("yolo", "weights/yolo.pt", 0.25)
    assert root.trigger_classes == ("car", "bus")
    assert root.tracked


def test_nothing_of_a_password_is_told() -> None:
    data = {"pipeline": node(), "redis": {"host": "h", "port": "x", "password": "geheim"}}
    assert "geheim" not in str(problems(data))
    assert "geheim" not in repr(parse({"pipeline": node()} | {"redis": data["redis"] | {"port": 1}}))


def test_the_schema_names_every_key_of_the_file() -> None:
    schema = PipelineSpec.model_json_schema()
    keys = set(schema["$defs"]["Node"]["properties"])
    assert {"modelId", "minResultConfidence", "parallelActions", "resizeTarget"} <= keys
    assert all(field.get("description") for field in schema["$defs"]["Node"]["properties"].values())


def test_a_zone_without_an_inside_is_an_error_and_mixed_units_a_warning() -> None:
    bow = [[0, 0], [1, 1], [1, 0], [0, 1]]
    found = problems({"pipeline": node(tracking={"zone": bow})})
    assert "crosses itself" in found["pipeline.tracking.zone"]
    found = problems({"pipeline": node(branches=[node(modelId="b", tracking={"zone": [[0, 0]] * 3})])})
    assert "has no area" in found["pipeline.branches[0].tracking.zone"]
    mixed = parse({"pipeline": node(tracking={"zone": [[0, 0.5], [300, 0], [300, 200]]})})
    assert any(text.startswith("pipeline.tracking.zone: mixes fractions") for text in warnings_of(mixed))


@pytest.mark.parametrize(
    ("waits", "place", "words"),
    [
        ("b", "pipeline.branches[0]", "is this node itself"),
        ("a", "pipeline.branches[0]", "each would wait for the other for ever"),
        ("d", "pipeline.branches[0]", "is no branch of this node, but of another"),
        ("e", "pipeline.branches[0]", "is no branch of this node (its branches: c)"),
        ("a", "pipeline", "is this node itself"),
        ("b", "pipeline.branches[0].branches[0]", "each would wait for the other for ever"),
    ],
)
def test_waiting_in_a_circle_is_told_in_plain_words(waits: str, place: str, words: str) -> None:
    """Below waits for nothing above, so that a circle can only begin with one of these."""
    action = {
        "type": "postgresql_update_combined",
        "table": "t",
        "key_field": "k",
        "fields": {"x": 1},
        "waitForBranches": [waits],
    }
    inner = node(modelId="c")
    below = node(modelId="b", branches=[inner])
    root = node(branches=[below, node(modelId="d")])
    holder = {"pipeline": root, "pipeline.branches[0]": below}.get(place, inner)
    holder["parallelActions"] = [action]
    found = problems({"pipeline": root, "postgresql": "embedded"})
    assert set(found) == {f"{place}.parallelActions[0].waitForBranches[0]"}
    assert words in found[f"{place}.parallelActions[0].waitForBranches[0]"]


def test_remarks_and_the_schema_are_no_unknown_keys() -> None:
    notes = {"//": "a remark", "// zone": ["any", {"value": 1}], "//x": None}
    action = {"type": "redis_publish", "channel": "c", "message": "m", "//": "why"}
    data = {
        "$schema": "./pipeline.schema.json",
        **notes,
        "redis": {"host": "h", "port": 1, "//": "ours"},
        "pipeline": node(actions=[action], tracking={"enabled": False, **notes}, **notes),
    }
    assert warnings_of(parse(data)) == []
    assert warnings_of(parse({"pipeline": node(schema=1, **{"/": 2})})) == [
        "pipeline.schema: unknown key",
        "pipeline./: unknown key",
    ]
