"""`load_pipeline_from_zip` and `run_pipeline`, on real archives and servers, with scripted models."""

import gc
import json
import logging
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from siwatsystem import pympta
from siwatsystem.detections import Classification, Detection
from siwatsystem.pympta import load_pipeline_from_zip, run_pipeline
from siwatsystem.testing import FakeModel, FakeRegistry
from tests.servers import PostgresServer, RedisServer, postgresql_server, redis_server, servers

__all__ = ["postgresql_server", "redis_server", "servers"]

PICTURE = np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8)
BOX = [10, 20, 200, 150]
CAR = Detection("Car", 0.9, (10, 20, 200, 150))
FRONTAL = Detection("Frontal", 0.8, (50, 60, 120, 140))
BRANDS = {
    "modelId": "car_brand",
    "modelFile": "brand.pt",
    "minConfidence": 0.5,
    "triggerClasses": ["Frontal"],
    "crop": True,
    "minResultConfidence": 0.6,
}
ROOT: dict[str, Any] = {
    "modelId": "cars",
    "modelFile": "cars.pt",
    "minConfidence": 0.5,
    "triggerClasses": ["Car", "Frontal"],
    "branches": [BRANDS],
}
RECORD: dict[str, Any] = {
    **ROOT,
    "multiClass": True,
    "expectedClasses": ["Car", "Frontal"],
    "actions": [
        {"type": "redis_save_image", "key": "i:{display_id}", "region": "Frontal"},
        {"type": "redis_publish", "channel": "cars", "message": "{}"},
    ],
    "parallelActions": [
        {
            "type": "postgresql_update_combined",
            "table": "car_frontal_info",
            "key_field": "session_id",
            "waitForBranches": ["car_brand"],
            "fields": {"car_brand": "{car_brand.brand}"},
        }
    ],
}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRegistry]:
    models = {
        "cars.pt": FakeModel((CAR, FRONTAL), ["Car", "Frontal", "Bus"]),
        "parts.pt": FakeModel((CAR, FRONTAL), ["Car", "Frontal"]),
        "brand.pt": FakeModel(Classification("Honda", 0.7), ["Honda"], "classify"),
    }
    fake = FakeRegistry(models)
    monkeypatch.setattr(pympta, "default_registry", lambda: fake)
    yield fake
    if pympta._surroundings is not None:
        pympta._surroundings.close()
        pympta._surroundings = None


def archive(folder: Path, node: dict[str, Any], name: str = "a.mpta", **top: Any) -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("top/pipeline.json", json.dumps({"pipeline": node, **top}))
        file.writestr("top/cars.pt", b"weights")
        file.writestr("top/brand.pt", b"weights")
        file.writestr("top/parts.pt", b"weights")
    return path


def loaded(source: str | Path, target: Path) -> dict[str, Any]:
    node = load_pipeline_from_zip(source, target)
    assert node is not None
    return node


def test_the_root_is_a_dict_with_the_keys_of_its_json(tmp_path: Path, registry: FakeRegistry) -> None:
    node = loaded(str(archive(tmp_path, ROOT)), tmp_path / "out")
    assert isinstance(node, dict)
    assert json.loads(json.dumps(node)) == {**ROOT, "branches": [{**BRANDS, "branches": []}]}


def test_the_result_has_what_the_branches_said(tmp_path: Path, registry: FakeRegistry) -> None:
    node = loaded(archive(tmp_path, ROOT), tmp_path / "out")
    assert run_pipeline(PICTURE, node, context={"session_id": 7}) == {
        "class": "Car",
        "confidence": 0.9,
        "id": None,
        "bbox": BOX,
        "branch_results": {"car_brand": {"class": "Honda", "confidence": 0.7, "id": None, "brand": "Honda"}},
        "session_id": 7,
    }


def test_the_box_comes_along_when_asked_for(tmp_path: Path, registry: FakeRegistry) -> None:
    node = loaded(archive(tmp_path, ROOT), tmp_path / "out")
    detection, box = run_pipeline(PICTURE, node, return_bbox=True)
    assert (detection["class"], box) == ("Car", BOX)


def test_nothing_seen_is_none(tmp_path: Path, registry: FakeRegistry) -> None:
    node = loaded(archive(tmp_path, {**ROOT, "triggerClasses": ["Bus"]}), tmp_path / "out")
    assert run_pipeline(PICTURE, node) is None
    assert run_pipeline(PICTURE, node, return_bbox=True) == (None, None)


def test_a_branch_runs_on_its_own_on_the_whole_picture(tmp_path: Path, registry: FakeRegistry) -> None:
    node = loaded(archive(tmp_path, ROOT), tmp_path / "out")
    result = run_pipeline(PICTURE, node["branches"][0])
    assert (result["class"], result["bbox"]) == ("Honda", [0, 0, 320, 240])


def test_a_branch_of_its_own_that_is_unsure_says_nothing(tmp_path: Path, registry: FakeRegistry) -> None:
    unsure = {**ROOT, "branches": [{**BRANDS, "minResultConfidence": 0.71}]}
    node = loaded(archive(tmp_path, unsure), tmp_path / "out")
    assert run_pipeline(PICTURE, node["branches"][0]) is None


def test_a_detecting_branch_of_its_own_needs_none_of_its_parents_classes(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    detecting = {**BRANDS, "modelFile": "parts.pt", "triggerClasses": ["Bus"]}
    node = loaded(archive(tmp_path, {**ROOT, "branches": [detecting]}), tmp_path / "out")
    assert run_pipeline(PICTURE, node)["branch_results"] == {}
    assert run_pipeline(PICTURE, node["branches"][0])["class"] == "Car"


def test_an_archive_that_was_changed_under_its_signature_is_not_opened(
    tmp_path: Path, registry: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    source = archive(tmp_path, ROOT)
    with zipfile.ZipFile(source, "a") as file:
        file.writestr("top/signature.json", "{}")
    assert load_pipeline_from_zip(source, tmp_path / "out") is None
    assert "signature" in caplog.text


def test_loading_again_into_the_same_folder_works(tmp_path: Path, registry: FakeRegistry) -> None:
    first = archive(tmp_path, ROOT)
    for source in (first, first.as_uri(), archive(tmp_path, {**ROOT, "minConfidence": 0.95}, "b.mpta")):
        node = loaded(source, tmp_path / "out")
    assert run_pipeline(PICTURE, node) is None  # the newest archive, not the one that was there
    assert run_pipeline(PICTURE, loaded(first, tmp_path / "out")) is not None


@pytest.mark.parametrize("source", ["nowhere.mpta", "http://127.0.0.1/a.mpta", "file://elsewhere/a.mpta", ""])
def test_what_is_not_there_is_none_and_logged(
    source: str, tmp_path: Path, registry: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_pipeline_from_zip(source, tmp_path / "out") is None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_wrong_archive_is_none_and_every_mistake_is_logged(
    tmp_path: Path, registry: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {**ROOT, "minConfidence": "high", "modelFile": "absent.pt"}
    assert load_pipeline_from_zip(archive(tmp_path, wrong), tmp_path / "out") is None
    assert "pipeline.minConfidence" in caplog.text
    assert "absent.pt" in caplog.text
    assert registry.held == []


def test_what_is_no_archive_is_none(tmp_path: Path, registry: FakeRegistry) -> None:
    (tmp_path / "a.mpta").write_bytes(b"no zip")
    assert load_pipeline_from_zip(tmp_path / "a.mpta", tmp_path / "out") is None


@pytest.mark.parametrize("node", [None, {}, {"modelId": "cars"}, 5])
def test_run_pipeline_never_raises(node: Any, registry: FakeRegistry) -> None:
    assert run_pipeline(PICTURE, node) is None
    assert run_pipeline(PICTURE, node, return_bbox=True, context={"display_id": object()}) == (None, None)


def test_a_model_that_fails_raises_nothing(
    tmp_path: Path, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = FakeRegistry(
        {"cars.pt": FakeModel(RuntimeError("no"), ["Car", "Frontal"]), "brand.pt": FakeModel(())}
    )
    monkeypatch.setattr(pympta, "default_registry", lambda: broken)
    node = loaded(archive(tmp_path, ROOT), tmp_path / "out")
    assert run_pipeline(PICTURE, node, return_bbox=True) == (None, None)


def test_models_are_given_back_with_the_last_node(tmp_path: Path, registry: FakeRegistry) -> None:
    node = loaded(archive(tmp_path, ROOT), tmp_path / "out")
    branch = node["branches"][0]
    assert len(registry.held) == 2
    del node
    gc.collect()
    assert run_pipeline(PICTURE, branch) is not None
    del branch
    gc.collect()
    assert registry.held == []


def test_without_servers_there_is_no_outbox(tmp_path: Path, registry: FakeRegistry) -> None:
    run_pipeline(PICTURE, loaded(archive(tmp_path, ROOT), tmp_path / "out"))
    assert not list((tmp_path / "out").glob("outbox*"))


def test_it_returns_when_everything_was_delivered(
    tmp_path: Path, registry: FakeRegistry, redis_server: RedisServer, postgresql_server: PostgresServer
) -> None:
    source = archive(tmp_path, RECORD, redis=redis_server.config, postgresql=postgresql_server.config)
    node = loaded(source, tmp_path / "out")
    with closing(redis_server.client()) as client, closing(client.pubsub()) as listener:
        listener.subscribe("cars")
        assert listener.get_message(timeout=10)["type"] == "subscribe"
        result = run_pipeline(PICTURE, node, context={"display_id": "display-1"})
        assert client.get("i:display-1")[:2] == b"\xff\xd8"
        message = json.loads(listener.get_message(timeout=10)["data"])
    assert (message["display_id"], message["image_key"]) == ("display-1", "i:display-1")
    rows = postgresql_server.query(
        "SELECT session_id, display_id, car_brand FROM gas_station_1.car_frontal_info"
    )
    assert rows == [(result["session_id"], "display-1", "Honda")]
    assert message["session_id"] == result["session_id"]


def test_it_returns_when_a_server_is_away_and_the_actions_are_safe(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused at once
        away = {"host": "127.0.0.1", "port": taken.getsockname()[1]}
        actions = {**ROOT, "actions": RECORD["actions"]}
        node = loaded(archive(tmp_path, actions, redis=away), tmp_path / "out")
        assert run_pipeline(PICTURE, node) is not None
        assert sum(node.outbox._outbox.depth().values()) == 2  # type: ignore[attr-defined]


def test_importing_it_loads_no_heavy_library() -> None:
    heavy = {"torch", "openvino", "onnxruntime", "redis", "psycopg2"}
    code = f"import sys, siwatsystem.pympta; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr


EMBEDDED = """
import json, sys
from pathlib import Path
import numpy as np
from siwatsystem import pympta
from siwatsystem.detections import Detection
from siwatsystem.testing import FakeModel, FakeRegistry
car = FakeModel((Detection("Car", 0.9, (1, 1, 9, 9)),), ["Car", "Frontal"])
pympta.default_registry = lambda: FakeRegistry({"cars.pt": car, "brand.pt": FakeModel(())})
node = pympta.load_pipeline_from_zip(sys.argv[1], sys.argv[2])
assert pympta.run_pipeline(np.zeros((10, 10, 3), np.uint8), node)["class"] == "Car"
print(json.dumps(node.outbox._outbox._embedded.pids), sum(node.outbox._outbox.depth().values()))
"""


def test_the_process_ends_cleanly_and_takes_its_embedded_servers_along(tmp_path: Path) -> None:
    source = archive(tmp_path, {**ROOT, "actions": RECORD["actions"]}, redis="embedded")
    command = [sys.executable, "-c", EMBEDDED, str(source), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    pids, waiting = done.stdout.rsplit(maxsplit=1)
    assert waiting == "0"
    assert not psutil.pid_exists(json.loads(pids)["redis"])
