"""Wire messages by value."""

from collections.abc import Sequence
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siwatsystem.detections import Detection
from siwatsystem.messages import ImageDetection, StateReport, encode
from siwatsystem.pipeline.events import BranchResult, Event
from siwatsystem.pipeline.node import Node
from siwatsystem.reports import StateReports, camera_connection, image_detection
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.subscriptions import Subscription
from siwatsystem.usage import Usage
from siwatsystem.wire_time import wire_time

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
    said = camera_connection(WISH, True)
    assert said == {"subscriptionIdentifier": "d;c", "modelId": 5, "modelName": "Cars", "online": True}
    cropped = replace(WISH, crop=(1, 2, 3, 4), legacy=True)
    said = camera_connection(cropped, False)
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
    said = orjson.loads(encode(StateReports().report(Usage(1.5, 2.5), [(WISH, True)])))
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


NAMES = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20)
SUBSCRIPTIONS = st.builds(
    Subscription,
    identifier=NAMES,
    source=st.just(WISH.source),
    model_id=st.integers(-(2**53), 2**53) | NAMES,
    model_name=st.text(st.characters(exclude_categories=["C"]), max_size=20),
    model_url=st.just(WISH.model_url),
    crop=st.none() | st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 4),
    legacy=st.booleans(),
)
PERCENT = st.floats(0, 100)
USAGES = st.builds(
    Usage, cpu=PERCENT, memory=PERCENT, gpu=st.none() | PERCENT, gpu_memory=st.none() | PERCENT
)
CAMERAS = st.lists(
    st.tuples(SUBSCRIPTIONS, st.booleans()), max_size=8, unique_by=lambda one: one[0].identifier
)
EDGE = st.floats(-1e5, 1e5)
BRANCH = Node(
    model_id="n", model_file="n.pt", min_confidence=0.5, trigger_classes=("Car",), attribute="carBrand"
)
EVENTS = st.builds(
    Event,
    detection=st.builds(
        Detection,
        class_name=NAMES,
        confidence=st.floats(0, 1),
        xyxy=st.tuples(EDGE, EDGE, EDGE, EDGE),
        tracker_id=st.none() | st.integers(1, 10**6),
    ),
    branches=st.dictionaries(st.just("n"), st.builds(BranchResult, st.just(BRANCH), NAMES, st.floats(0, 1))),
)


@given(USAGES, CAMERAS, CAMERAS)
def test_a_state_report_is_what_its_model_writes(
    usage: Usage,
    cameras: Sequence[tuple[Subscription, bool]],
    later: Sequence[tuple[Subscription, bool]],
):
    reports = StateReports()
    for shown in (cameras, cameras, later):
        report = reports.report(usage, shown)
        entries = [camera_connection(subscription, online) for subscription, online in shown]
        fields = {
            "cpuUsage": usage.cpu,
            "memoryUsage": usage.memory,
            "gpuUsage": usage.gpu,
            "gpuMemoryUsage": usage.gpu_memory,
            "cameraConnections": entries,
        }
        assert encode(StateReport.model_validate(fields)) == encode(report)
        assert report.type == "stateReport"


@given(SUBSCRIPTIONS, EVENTS, st.floats(0, 4e9), st.none() | st.integers(0, 2**53) | NAMES)
def test_a_detection_is_what_its_model_writes(
    subscription: Subscription, event: Event, at: float, session_id: int | str | None
):
    said = image_detection(subscription, event, (3, 4), at, session_id)
    assert encode(ImageDetection.model_validate(orjson.loads(said.text))) == said.text
    assert said.subscription_identifier == subscription.identifier
    assert said.type == "imageDetection"


def test_what_was_written_of_a_subscription_is_kept_while_it_holds():
    reports = StateReports()
    for online, wish in [(True, WISH), (False, WISH), (True, replace(WISH, crop=(1, 2, 3, 4)))]:
        said = orjson.loads(encode(reports.report(Usage(1.0, 2.0), [(wish, online)])))
        assert said["cameraConnections"] == [camera_connection(wish, online)]
        assert len(reports) == 1
    reports.forget(WISH.identifier)
    reports.forget(WISH.identifier)
    assert len(reports) == 0
