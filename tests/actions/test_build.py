"""Jobs from configurations and contexts."""

import json
import logging

import cv2
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from siwatsystem.actions import build
from siwatsystem.actions.registry import KINDS
from siwatsystem.actions.spec import (
    Action,
    KafkaPublish,
    MqttPublish,
    Publish,
    SaveImage,
    UpdateCombined,
    Webhook,
)
from siwatsystem.actions.targets import PostgresqlServer, postgresql_target, redis_target

ACTION: TypeAdapter[SaveImage | Publish | UpdateCombined] = TypeAdapter(Action)
CONTEXT: dict[str, object] = {
    "class": "Frontal",
    "display_id": "display-001",
    "session_id": 12345,
    "timestamp": "2025-07-14T12-34-56",
    "camera_id": "display-001;cam-001",
    "car_brand_cls_v1": {"brand": "Honda"},
    "plate": {"text": None},
}
PICTURE = np.random.default_rng(1).integers(0, 255, (60, 80, 3), dtype=np.uint8)


def update(**changes: object) -> UpdateCombined:
    base = {
        "type": "postgresql_update_combined",
        "table": "car_frontal_info",
        "key_field": "session_id",
        "fields": {"car_brand": "{car_brand_cls_v1.brand}", "updated_at": "NOW()"},
    }
    made = ACTION.validate_python(base | changes)
    assert isinstance(made, UpdateCombined)
    return made


def test_an_image_is_encoded_later_from_a_copy_of_its_part() -> None:
    action = SaveImage(type="redis_save_image", key="inference:{display_id}:{missing}", expire_seconds=600)
    region = PICTURE[10:40, 10:50]
    picture = build.Picture(region, action.format, action.quality)
    job = build.save_image_job(action, CONTEXT, picture, "redis:x", now=1000.0)
    assert job.payload == {"key": "inference:display-001:"}
    assert job.expires_at == 1600
    assert job.blob is picture
    assert picture.nbytes == region.nbytes
    assert picture.image is not None
    assert picture.image.base is None
    decoded = cv2.imdecode(np.frombuffer(picture(), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == region.shape
    assert picture.image is None
    assert picture.nbytes == region.nbytes


def test_a_png_is_exact() -> None:
    action = SaveImage(type="redis_save_image", key="k", format="png")
    job = build.save_image_job(action, CONTEXT, build.Picture(PICTURE, "png", 90), "redis:x")
    assert callable(job.blob)
    assert np.array_equal(cv2.imdecode(np.frombuffer(job.blob(), np.uint8), cv2.IMREAD_COLOR), PICTURE)
    assert job.expires_at is None


def test_a_message_that_is_an_object_is_completed() -> None:
    action = Publish(
        type="redis_publish",
        channel="car_detections",
        message='{"timestamp": "own", "brand": "{car_brand_cls_v1.brand}", "plate": "{plate.text}",'
        ' "x": {gone.y}}',
    )
    job = build.message_job(action, CONTEXT | {"image_key": "k"}, {"redis": "redis:x"})
    assert json.loads(job.payload["message"]) == {
        "timestamp": "own",
        "brand": "Honda",
        "plate": None,
        "x": None,
        "event": "frontal_detected",
        "display_id": "display-001",
        "session_id": 12345,
        "image_key": "k",
    }


@pytest.mark.parametrize(
    ("message", "expected"),
    [("saw {class}{gone.x}", "saw Frontal"), ("{class}", "Frontal"), ("[1, {session_id}]", "[1, 12345]")],
)
def test_other_messages_stay_as_they_are(message: str, expected: str) -> None:
    action = Publish(type="redis_publish", channel="c", message=message)
    assert build.message_job(action, CONTEXT, {"redis": "redis:x"}).payload == {
        "channel": "c",
        "message": expected,
    }


def test_fields_without_a_value_are_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    action = update(
        fields={
            "car_brand": "{car_brand_cls_v1.brand}",
            "car_body_type": "{body.body_type}",
            "license_character": "{plate.text}",
            "note": "x",
            "year": 2020,
            "updated_at": "NOW()",
        }
    )
    with caplog.at_level(logging.WARNING):
        job = build.update_job(action, CONTEXT, "postgresql:x")
    assert job is not None
    assert job.payload == {
        "table": "car_frontal_info",
        "key_field": "session_id",
        "key_value": "12345",
        "fields": {"car_brand": "Honda", "note": "x", "year": 2020},
        "now": ["updated_at"],
    }
    assert "car_body_type, license_character" in caplog.text


@pytest.mark.parametrize(
    ("changes", "context"),
    [
        ({"fields": {"car_brand": "{body.brand}", "updated_at": "NOW()"}}, CONTEXT),
        ({}, CONTEXT | {"session_id": None}),
        ({"key_value": "{gone.id}"}, CONTEXT),
    ],
)
def test_nothing_resolved_is_no_statement(changes: dict[str, object], context: dict[str, object]) -> None:
    assert build.update_job(update(**changes), context, "postgresql:x") is None


def test_constants_alone_are_a_statement() -> None:
    job = build.update_job(update(fields={"updated_at": "NOW()"}), CONTEXT, "postgresql:x")
    assert job is not None
    assert job.payload["now"] == ["updated_at"]


def test_configurations_say_what_is_wrong_and_keep_what_is_unknown() -> None:
    for wrong in (
        {"table": "a.b.c"},
        {"table": 'x"y'},
        {"key_field": "1x"},
        {"fields": {"a b": "x"}},
        {"fields": {}},
        {"fields": {"a": ["x"]}},
        {"waitForBranches": "a"},
        {"type": "no_such_action"},
    ):
        with pytest.raises(ValidationError):
            update(**wrong)
    with pytest.raises(ValidationError):
        ACTION.validate_python({"type": "redis_save_image", "key": "k", "quality": "90"})
    assert update(waitForBranches=["a"]).wait_for_branches == ("a",)
    assert update(surprise=1).model_extra == {"surprise": 1}
    assert update().templates() == {
        "key_value": "{session_id}",
        "fields.car_brand": "{car_brand_cls_v1.brand}",
        "fields.updated_at": "NOW()",
    }


def test_every_action_of_the_configuration_has_a_kind() -> None:
    models = {kind.model for kind in KINDS.values() if kind.model is not None}
    assert models == {SaveImage, Publish, UpdateCombined, MqttPublish, KafkaPublish, Webhook}


def test_targets_are_shared_by_place_and_show_no_password() -> None:
    config = {"host": "db", "port": 5432, "database": "d", "username": "u", "password": "hunter2"}
    one, two = postgresql_target(config), postgresql_target(config | {"schema": "gas_station_1"})
    assert one.key == two.key
    assert one.key != postgresql_target(config | {"schema": "other"}).key
    assert redis_target("embedded").key == "redis:embedded"
    assert redis_target({"host": "r", "port": 1}).key == redis_target({"host": "r", "port": 1, "db": 0}).key
    assert "hunter2" not in repr(one) + one.key + one.place + repr(PostgresqlServer.model_validate(config))
    for wrong in ({"host": "r"}, {"host": "r", "port": 0}, {"host": "r", "port": "6379"}):
        with pytest.raises(ValidationError):
            redis_target(wrong)
    with pytest.raises(ValidationError):
        postgresql_target(config | {"schema": "a b"})
