import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.config import ModelSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.packing import pack
from siwatsystem.runtime.metadata import Metadata
from siwatsystem.validation import Examination, as_json, examined

CARS = Metadata("detect", {0: "Car", 1: "Frontal"}, (320, 320))
NODE: dict[str, Any] = {"modelId": "a", "modelFile": "a.pt", "minConfidence": 0.5, "triggerClasses": ["Car"]}


def facts(path: Path) -> Metadata:
    if path.read_bytes() != b"weights":
        raise ModelInvalid(f"{path.name} is no model")
    return CARS


def folder(tmp_path: Path, data: Any, **files: str) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    (made / "pipeline.json").write_text(data if isinstance(data, str) else json.dumps(data))
    for name, text in ({"a": "weights"} | files).items():
        (made / f"{name}.pt").write_text(text)
    return made


def examine(source: Path, limits: ModelSettings | None = None) -> Examination:
    with examined(source, limits, facts) as found:
        return found


def told(found: Examination) -> list[str]:
    return [str(problem) for problem in found.problems]


def test_a_folder_and_its_archive_are_valid_alike(tmp_path: Path) -> None:
    source = folder(tmp_path, {"pipeline": NODE})
    for one in (source, pack(source, tmp_path / "a.mpta")):
        found = examine(one)
        assert (found.valid, found.problems, found.warnings) == (True, [], [])
        assert found.models == {"a.pt": CARS}
        assert [entry.name for entry in found.entries] == ["a.pt", "pipeline.json"]


def test_the_unpacked_files_are_there_as_long_as_the_examination(tmp_path: Path) -> None:
    packed = pack(folder(tmp_path, {"pipeline": NODE}), tmp_path / "a.mpta")
    with examined(packed, None, facts) as found:
        assert found.folder is not None
        assert (found.folder / "a.pt").is_file()
    assert not found.folder.exists()


def test_a_wrong_file_is_still_held_to_its_models_classes(tmp_path: Path) -> None:
    branch = NODE | {"modelId": "b", "modelFile": "b.pt", "minConfidence": "x", "triggerClasses": ["Frontl"]}
    wrong = {"pipeline": NODE | {"triggerClasses": ["Buss"], "crop": 3, "branches": [branch]}}
    found = examine(folder(tmp_path, wrong, b="junk"))
    assert found.spec is None
    assert {problem.path for problem in found.problems} == {
        "pipeline.crop",
        "pipeline.branches[0].minConfidence",
        "pipeline.branches[0].modelFile",
        "pipeline.triggerClasses[0]",
    }


def test_a_wrong_file_hides_neither_placeholders_nor_unknown_keys(tmp_path: Path) -> None:
    publish = {"type": "kafka_publish", "topic": "not one", "message": "{nix}", "key": "{camera_id}"}
    hook = {"type": "webhook", "url": "nowhere", "message": "{nope}", "secert": "x"}
    record = {"type": "postgresql_update_combined", "table": 7, "fields": {"brand": "{nobody}", "n": []}}
    retained = {"type": "mqtt_publish", "topic": "t", "message": "m", "retian": True}
    no_action = [{"type": "fly", "message": "{nix}"}, 3, {"type": ["webhook"], "message": "{nix}"}]
    wrong = {
        "mqtt": {"hots": "a", "host": "127.0.0.1", "port": 1883},
        "kafka": {"servers": "127.0.0.1:9092"},
        "pipeline": NODE
        | {"actions": [publish, hook, retained, *no_action], "parallelActions": [record], "colour": 1},
    }
    found = examine(folder(tmp_path, wrong))
    assert {problem.path for problem in found.problems if "is in no context" in problem.message} == {
        "pipeline.actions[0].message",
        "pipeline.actions[1].message",
        "pipeline.parallelActions[0].fields.brand",
    }
    places = ("pipeline.colour", "pipeline.actions[1].secert", "pipeline.actions[2].retian", "mqtt.hots")
    assert set(found.warnings) == {f"{one}: unknown key" for one in (*places, "kafka.servers")}
    assert (found.complete, as_json(found)["complete"]) == (False, False)


def test_a_model_that_cannot_be_loaded_is_one_mistake_and_not_the_end(tmp_path: Path) -> None:
    branch = NODE | {"modelId": "b", "modelFile": "b.pt", "cropClass": "Plate", "crop": True}
    found = examine(folder(tmp_path, {"pipeline": NODE | {"branches": [branch]}}, b="junk"))
    assert told(found)[0] == "pipeline.branches[0].modelFile: b.pt is no model"
    assert [problem.path for problem in found.problems[1:]] == ["pipeline.branches[0].cropClass"]
    assert found.models["b.pt"] == "b.pt is no model"


def test_warnings_of_the_file_and_of_its_classes_come_together(tmp_path: Path) -> None:
    branch = NODE | {"modelId": "b", "triggerClasses": ["Frontal"]}
    found = examine(folder(tmp_path, {"pipeline": NODE | {"branches": [branch], "colour": 1}}))
    assert found.valid
    assert any("unknown key" in warning for warning in found.warnings)
    assert any("never runs" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "line 1 column 2"), ('{\n "pipeline": nope}', "line 2 column 14"), ("[]", "must hold an object")],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_what_is_no_json_is_told_once_with_its_line(
    tmp_path: Path, text: str, words: str, zipped: bool
) -> None:
    source = folder(tmp_path, text)
    if zipped:
        with zipfile.ZipFile(source.with_suffix(".mpta"), "w") as file:
            file.write(source / "pipeline.json", "pipeline.json")
        source = source.with_suffix(".mpta")
    (only,) = told(examine(source))
    assert words in only


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_all_reasons_to_refuse_a_zip_and_its_json_come_together(tmp_path: Path) -> None:
    path = tmp_path / "a.mpta"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("pipeline.json", json.dumps({"pipeline": NODE | {"minConfidence": 7}}))
        file.writestr("a.pt", "weights")
        file.writestr("a.pt", "weights")
        file.writestr("../evil", "x")
        file.writestr("tests/bomb", bytes(3 << 20))
    found = examine(path, ModelSettings(max_unpacked_mb=2))
    words = [
        "'a.pt' is there twice",
        "leads out of the archive",
        "100 times",
        "more than 2 MB",
        "minConfidence",
    ]
    assert len(found.problems) == len(words)
    assert all(any(word in text for text in told(found)) for word in words)
    assert found.folder is None
    assert found.models == {}


@pytest.mark.parametrize(
    ("names", "words"),
    [(["a.pt"], "no pipeline.json"), (["x/pipeline.json", "y/pipeline.json"], "several top folders")],
)
def test_an_archive_without_one_root_is_told(tmp_path: Path, names: list[str], words: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.mpta", "w") as file:
        for name in names:
            file.writestr(name, "{}")
    (only,) = told(examine(tmp_path / "a.mpta"))
    assert words in only


def test_damage_behind_an_intact_listing_is_found(tmp_path: Path) -> None:
    packed = pack(folder(tmp_path, {"pipeline": NODE}), tmp_path / "a.mpta")
    packed.write_bytes(packed.read_bytes().replace(b"weights", b"wEights"))
    (only,) = told(examine(packed))
    assert "damaged" in only


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_cut_archive_is_told(tmp_path: Path, share: float) -> None:
    packed = pack(folder(tmp_path, {"pipeline": NODE}), tmp_path / "a.mpta")
    data = packed.read_bytes()
    packed.write_bytes(data[: int(len(data) * share)])
    (only,) = told(examine(packed))
    assert "cut short" in only


def test_a_bare_model_is_a_pipeline(tmp_path: Path) -> None:
    source = folder(tmp_path, "{", b="junk")
    found = examine(source / "a.pt")
    assert found.valid
    assert found.spec is not None
    assert found.spec.pipeline.trigger_classes == ("Car", "Frontal")
    assert told(examine(source / "b.pt")) == ["b.pt is no model"]


def test_links_in_a_folder_and_too_many_files_are_told(tmp_path: Path) -> None:
    source = folder(tmp_path, {"pipeline": NODE})
    (source / "passwd").symlink_to("/etc/passwd")
    texts = told(examine(source, ModelSettings(max_entries=1)))
    assert len(texts) == 2
    assert "'passwd' is a link" in texts[0]
    assert "2 entries" in texts[1]


def test_a_model_outside_of_the_archive_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "b.pt").write_text("weights")
    found = examine(folder(tmp_path, {"pipeline": NODE | {"modelFile": "../b.pt"}}))
    assert found.models == {}
    assert "is no path inside the archive" in told(found)[0]


def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    source = folder(tmp_path, {"pipeline": NODE})
    (source / "tests").mkdir(mode=0)
    user = os.geteuid()
    if user == 0:  # may read everything, so somebody else tries
        os.seteuid(65534)
    try:
        (only,) = told(examine(source))
    finally:
        os.seteuid(user)
    assert "cannot be read (Permission denied)" in only


def test_a_folder_of_something_else_is_told(tmp_path: Path) -> None:
    assert told(examine(tmp_path)) == ["the folder has no pipeline.json"]


def test_the_json_has_place_mistake_and_hint(tmp_path: Path) -> None:
    found = examine(folder(tmp_path, {"pipeline": NODE | {"triggerClasses": ["car", "Fruntal"]}}))
    (problem,) = as_json(found)["problems"]
    assert (problem["path"], as_json(found)["valid"]) == ("pipeline.triggerClasses[1]", False)
    assert "did you mean 'Frontal'?" in problem["hint"]
