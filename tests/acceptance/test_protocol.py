"""The real process over a real socket: every message type, on real RTSP and snapshot cameras."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from demo.check import cars_of
from tests.acceptance.archives import Shelf
from tests.acceptance.client import Client, state_of
from tests.acceptance.conftest import CLIPS, Station
from tests.acceptance.worker import WorkerProcess, worker

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    with worker(tmp_path_factory.mktemp("worker"), SIWAT_DISCONNECT_GRACE_SEC="3") as process:
        yield process


@pytest.fixture
def client(running: WorkerProcess) -> Iterator[Client]:
    with running.client() as found:
        yield found
        state = found.until_type("stateReport")
        for camera in state["cameraConnections"]:
            identifier = camera["subscriptionIdentifier"]
            found.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": identifier}})


def is_detection(identifier: str) -> Any:
    return lambda message: (
        message["type"] == "imageDetection"
        and message["subscriptionIdentifier"] == identifier
        and "carBrand" in message["data"]["detection"]
        and "bodyType" in message["data"]["detection"]
    )


def test_state_comes_at_once_and_every_two_seconds(client: Client):
    state = client.until_type("stateReport")
    assert state["cameraConnections"] == []
    assert 0 <= state["cpuUsage"] <= 100
    assert 0 <= state["memoryUsage"] <= 100
    assert "gpuUsage" in state
    assert "gpuMemoryUsage" in state
    began = time.monotonic()
    for _ in range(2):
        client.until_type("stateReport")
    assert time.monotonic() - began > 1.5
    client.send({"type": "requestState"})
    began = time.monotonic()
    client.until_type("stateReport")


def test_a_camera_is_recognised_with_session_crop_and_image(
    client: Client, running: WorkerProcess, station: Station, archives: Shelf
):
    name = "display-1;pump"
    client.send({"type": "setSessionId", "payload": {"displayIdentifier": "display-1", "sessionId": 77}})
    client.subscribe(name, rtspUrl=station.camera(0), modelUrl=archives.url("demo.mpta"))
    client.until_online(name, timeout=120)
    seen = client.until(is_detection(name), "detection with brand and body type", timeout=120)
    assert seen["sessionId"] == 77
    assert seen["timestamp"].endswith("Z")
    assert len(seen["timestamp"]) == len("2025-07-14T12:34:56.789Z")
    detection = seen["data"]["detection"]
    assert (detection["carBrand"], detection["bodyType"]) in cars_of(CLIPS[0].with_suffix(".json"))
    assert detection["class"] == "Car"
    x1, y1, x2, y2 = seen["data"]["boundingBox"]
    assert 0 <= x1 < x2 <= 1280
    assert 0 <= y1 < y2 <= 720
    assert (seen["data"]["modelId"], seen["data"]["modelName"]) == (101, "Cars")
    status, body, kind = running.get(f"/camera/{name}/image")
    assert (status, kind) == (200, "image/jpeg")
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (720, 1280, 3)
    assert picture.std() > 10


def test_a_crop_is_what_the_image_shows_and_boxes_stay_in_full_frame_pixels(
    client: Client, running: WorkerProcess, station: Station, archives: Shelf
):
    name = "display-2;pump"
    crop = {"cropX1": 100, "cropY1": 100, "cropX2": 1280, "cropY2": 720}
    client.subscribe(name, rtspUrl=station.camera(0), modelUrl=archives.url("demo.mpta"), **crop)
    state = client.until_online(name, timeout=120)
    assert {key: value for key, value in state_of(state, name).items() if key in crop} == crop
    for query, shape in (("", (620, 1180, 3)), ("?full=1", (720, 1280, 3)), ("?overlay=1", (620, 1180, 3))):
        status, body, _ = running.get(f"/camera/{name.replace(';', '%3B')}/image{query}")
        assert status == 200
        picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == shape
    seen = client.until(is_detection(name), "detection", timeout=120)
    x1, y1, x2, y2 = seen["data"]["boundingBox"]
    assert 100 <= x1 < x2 <= 1281
    assert 100 <= y1 < y2 <= 721


def test_displays_share_a_source_and_one_can_be_replaced_by_a_snapshot_camera(
    client: Client, running: WorkerProcess, station: Station, archives: Shelf
):
    model, before = archives.url("demo.mpta"), archives.requests.count("/demo.mpta")
    for number in (1, 2):
        client.subscribe(f"display-{number};shared", rtspUrl=station.camera(1), modelUrl=model)
    for number in (1, 2):
        client.until(is_detection(f"display-{number};shared"), "detection", timeout=120)
    assert running.json("/health")["subscriptions"] >= 2
    client.subscribe(
        "display-2;shared",
        rtspUrl=station.camera(1),
        snapshotUrl=station.snapshot_url,
        snapshotInterval=300,
        modelUrl=model,
    )
    client.until_online("display-2;shared", timeout=120)
    seen = client.until(is_detection("display-2;shared"), "detection of the new camera", timeout=120)
    detection = seen["data"]["detection"]
    both = cars_of(CLIPS[-1].with_suffix(".json")) | cars_of(CLIPS[1].with_suffix(".json"))
    assert (detection["carBrand"], detection["bodyType"]) in both
    assert archives.requests.count("/demo.mpta") - before <= 1


def test_after_unsubscribe_nothing_more_comes(client: Client, station: Station, archives: Shelf):
    name = "display-3;pump"
    client.subscribe(name, rtspUrl=station.camera(0), modelUrl=archives.url("demo.mpta"))
    client.until(is_detection(name), "detection", timeout=120)
    client.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": name}})
    client.until(lambda message: message["type"] == "stateReport" and state_of(message, name) is None, "end")
    after = [message for message in client.collect(3) if message.get("subscriptionIdentifier") == name]
    assert after == []


def test_a_backend_that_comes_back_within_the_grace_finds_everything_warm(
    running: WorkerProcess, station: Station, archives: Shelf
):
    name, model = "display-4;pump", archives.url("demo.mpta")
    with running.client() as first:
        first.subscribe(name, rtspUrl=station.camera(0), modelUrl=model)
        first.until_online(name, timeout=120)
    opened = running.metric("siwat_source_reconnects_total")
    with running.client() as second:
        second.subscribe(name, rtspUrl=station.camera(0), modelUrl=model)
        second.until_online(name, timeout=5)
        assert running.metric("siwat_source_reconnects_total") == opened
    deadline = time.monotonic() + 30
    while running.json("/health")["subscriptions"] and time.monotonic() < deadline:
        time.sleep(0.2)
    assert running.json("/health")["subscriptions"] == 0


def test_another_connection_takes_a_subscription_over(
    client: Client, running: WorkerProcess, station: Station, archives: Shelf
):
    name, model = "display-5;pump", archives.url("demo.mpta")
    client.subscribe(name, rtspUrl=station.camera(0), modelUrl=model)
    client.until_online(name, timeout=120)
    with running.client() as other:
        other.subscribe(name, rtspUrl=station.camera(0), modelUrl=model)
        other.until_online(name)
        client.until(lambda message: message["type"] == "stateReport" and not state_of(message, name), "loss")
        other.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": name}})
        client.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": name}})
        assert client.until_error("unknown_subscription")["subscriptionIdentifier"] == name


def test_what_no_backend_could_be_told_comes_as_patch_until_it_is_acknowledged(
    running: WorkerProcess, station: Station, archives: Shelf
):
    name, model = "display-6;pump", archives.url("demo.mpta")
    session = {"type": "setSessionId", "payload": {"displayIdentifier": "display-6", "sessionId": "visit-6"}}
    with running.client() as first:
        first.send(session)
        first.subscribe(name, rtspUrl=station.camera(0), modelUrl=model)
        first.until(is_detection(name), "detection", timeout=120)
    late = running.metric("siwat_detections_late_total")
    deadline = time.monotonic() + 60
    while running.metric("siwat_detections_late_total") == late and time.monotonic() < deadline:
        with running.client() as keeper:  # keeps the subscription warm without reading detections
            keeper.subscribe(name, rtspUrl=station.camera(0), modelUrl=model)
        time.sleep(1)
    with running.client() as second:
        second.subscribe(name, rtspUrl=station.camera(0), modelUrl=model)
        patch = second.until_type("patchSession")
        assert patch["sessionId"] == "visit-6"
        assert set(patch["data"]) == {"currentCar"}
        assert set(patch["data"]["currentCar"]) <= {"carBrand", "bodyType"}
        assert patch["data"]["currentCar"]
    with running.client() as third:  # the connection was lost before the answer: it is sent again
        third.subscribe(name, rtspUrl=station.camera(0), modelUrl=model)
        again = third.until_type("patchSession")
        assert again["sessionId"] == "visit-6"
        answer = {"sessionId": "visit-6", "success": True, "message": "merged"}
        third.send({"type": "patchSessionResult", "payload": answer})
        third.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": name}})


def test_a_patch_of_the_backend_is_merged_and_answered(client: Client):
    client.send({"type": "patchSession", "sessionId": 5, "data": {"currentCar": {"carBrand": "Honda"}}})
    answer = client.until_type("patchSessionResult")["payload"]
    assert (answer["sessionId"], answer["success"]) == (5, True)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_message"),
        ('{"payload": {}}', "invalid_message"),
        ('{"type": "dance"}', "unknown_type"),
        ('{"type": "subscribe", "payload": {"subscriptionIdentifier": "a;b"}}', "invalid_message"),
        ('{"type": "unsubscribe", "payload": {"subscriptionIdentifier": "a;b"}}', "unknown_subscription"),
    ],
)
def test_what_a_message_says_is_answered_and_closes_nothing(client: Client, text: str, code: str):
    client.send(text)
    assert client.until_error(code)["error"]
    client.send({"type": "requestState"})
    client.until_type("stateReport")


def test_what_breaks_a_limit_is_answered_and_closes(running: WorkerProcess):
    with running.client() as deep:
        deep.send("[" * 200 + "]" * 200)
        assert "deeper" in deep.until_error("invalid_json")["error"]
        assert deep.closed() == 1008


def test_what_breaks_a_limit_is_told_and_closes(running: WorkerProcess):
    with running.client() as client:
        client.send("[" * 200 + "]" * 200)
        assert client.until_error("invalid_json")["error"]
        assert client.closed() == 1008
    with running.client() as client:
        client.send("x" * 2_000_000)
        assert client.closed() == 1009


def test_documents_and_page_are_served(running: WorkerProcess):
    assert set(running.json("/asyncapi.json")["channels"])
    assert "/camera/{camera_id}/image" in running.json("/openapi.json")["paths"]
    status, body, kind = running.get("/")
    assert status == 200
    assert kind.startswith("text/html")
    assert b"Detector worker" in body
    assert running.get("/camera/no;such/image")[0] == 404
    assert running.get("/metrics")[1].startswith(b"# HELP")


def test_nothing_bad_was_logged(running: WorkerProcess):
    text = Path(running.process.log).read_text()
    assert "Traceback" not in text
    assert "ERROR" not in text
