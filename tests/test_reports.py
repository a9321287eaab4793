"""Wire messages by value."""

from dataclasses import replace

import orjson
import pytest

from siwatsystem.detections import Detection
from siwatsystem.messages import encode
from siwatsystem.pipeline.events import BranchResult, Event
from siwatsystem.pipeline.node import Node
from siwatsystem.reports import camera_connection, image_detection, state_report, wire_time
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.subscriptions import Subscription
from siwatsystem.usage import Usage

WISH = Subscription("d;c", SourceSpec("rtsp://user:secret@a"), 5, "Cars", "http://m/a?s=secret")
CAR = Detection("Car", 0.912345, (1.04, 2.0, 30.0, 40.0))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1752496496.789, "2025-07-14T12:34:56.789Z"),
        (1752496496, "2025-07-14T12:34:56.000Z"),
    ],
)
def test_a_moment_has_milliseconds_and_ends_in_z(seconds: float, text: str):
    assert wire_time(seconds) == text


def test_a_camera():
    said = camera_connection(WISH, True).model_dump(by_alias=True, exclude_unset=True)
    assert said == {"subscriptionIdentifier": "d;c", "modelId": 5, "modelName": "Cars", "online": True}
    cropped = replace(WISH, crop=(1, 2, 3, 4), legacy=True)
    said = camera_connection(cropped, False).model_dump(by_alias=True, exclude_unset=True)
    assert said == {
        "subscriptionIdentifier": "d;c",
        "cameraIdentifier": "d;c",
        "modelId": 5,
        "modelName": "Cars",
        "online": False,
        "cropX1": 1,
        "cropY1": 2,
        "cropX2": 3,
        "cropY2": 4,
    }


def test_a_state_report_has_null_for_the_gpu_that_is_not_there():
    said = orjson.loads(encode(state_report(Usage(1.5, 2.5), [camera_connection(WISH, True)])))
    assert said["type"] == "stateReport"
    assert (said["cpuUsage"], said["memoryUsage"]) == (1.5, 2.5)
    assert said["gpuUsage"] is None
    assert said["gpuMemoryUsage"] is None
    assert [camera["subscriptionIdentifier"] for camera in said["cameraConnections"]] == ["d;c"]


def test_a_detection():
    node = Node(
        model_id="brand",
        model_file="brand.pt",
        min_confidence=0.5,
        trigger_classes=("Car",),
        result_field="carBrand",
    )
    branch = BranchResult(node, "Honda", 0.87654321)
    event = Event(CAR, {"Car": CAR}, {"brand": branch})
    said = orjson.loads(encode(image_detection(WISH, event, (100, 200), 1752496496.789, 7)))
    name = node.attribute_name
    assert name is not None
    assert said == {
        "type": "imageDetection",
        "subscriptionIdentifier": "d;c",
        "timestamp": "2025-07-14T12:34:56.789Z",
        "sessionId": 7,
        "data": {
            "detection": {"class": "Car", "confidence": 0.9123, name: "Honda", f"{name}Confidence": 0.8765},
            "boundingBox": [101.0, 202.0, 130.0, 240.0],
            "modelId": 5,
            "modelName": "Cars",
        },
    }


def test_a_detection_names_its_track_and_no_session_where_there_is_none():
    event = Event(replace(CAR, tracker_id=3))
    legacy = replace(WISH, legacy=True)
    said = orjson.loads(encode(image_detection(legacy, event, (0, 0), 0.0, None)))
    assert "sessionId" not in said
    assert said["data"]["detection"]["trackId"] == 3
    assert said["cameraIdentifier"] == "d;c"
    assert "secret" not in str(said)
