"""Jobs that say something to a broker or a receiver, and who may be one."""

import base64
import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from standardwebhooks import Webhook as Receiver

from siwatsystem.actions import build
from siwatsystem.actions.brokers import KafkaServer, kafka_target, mqtt_target
from siwatsystem.actions.receivers import key_for, signature, signing_key, webhook_target
from siwatsystem.actions.spec import Action, Webhook
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import TargetUnavailable

ACTION: TypeAdapter[Any] = TypeAdapter(Action)
CONTEXT: dict[str, object] = {
    "class": "Frontal",
    "display_id": "display-001",
    "camera_id": "display-001;cam+1",
    "session_id": 12345,
    "timestamp": "2025-07-14T12-34-56",
}
TARGETS = {"mqtt": "mqtt:x", "kafka": "kafka:x"}
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
COMPLETED = {
    "event": "frontal_detected",
    "display_id": "display-001",
    "session_id": 12345,
    "timestamp": "2025-07-14T12-34-56",
    "image_key": None,
}


def settings(**values: Any) -> OutboxSettings:
    return OutboxSettings.model_validate(values)


def job(**action: Any) -> Any:
    return build.message_job(
        ACTION.validate_python({"message": '{"of": "{class}"}'} | action), CONTEXT, TARGETS
    )


def test_every_kind_completes_the_message_alike() -> None:
    url = "https://backend.example/hook"
    for each in (
        job(type="mqtt_publish", topic="cars"),
        job(type="kafka_publish", topic="cars"),
        job(type="webhook", url=url),
    ):
        assert json.loads(each.payload["message"]) == {"of": "Frontal", **COMPLETED}
    assert job(type="webhook", url=url, message="{class}!").payload == {
        "to": "backend.example:443",
        "message": "Frontal!",
    }


def test_what_a_topic_cannot_hold_is_replaced() -> None:
    made = job(type="mqtt_publish", topic="site/{camera_id}/cars", retain=True)
    assert (made.target, made.payload["topic"], made.payload["retain"]) == (
        "mqtt:x",
        "site/display-001;cam_1/cars",
        True,
    )
    made = job(type="kafka_publish", topic="cars-{camera_id}", key="{session_id}")
    assert (made.target, made.payload["topic"], made.payload["key"]) == (
        "kafka:x",
        "cars-display-001_cam_1",
        "12345",
    )
    assert job(type="kafka_publish", topic="cars").payload["key"] is None


@pytest.mark.parametrize(
    "action",
    [
        {"type": "mqtt_publish", "topic": "cars/#"},
        {"type": "mqtt_publish", "topic": "+/cars"},
        {"type": "mqtt_publish", "topic": "a\0b"},
        {"type": "mqtt_publish", "topic": ""},
        {"type": "kafka_publish", "topic": "cars/front"},
        {"type": "kafka_publish", "topic": "x" * 250},
        {"type": "kafka_publish", "topic": "ü"},
        {"type": "webhook", "url": "ftp://backend.example/x"},
        {"type": "webhook", "url": "https://"},
        {"type": "webhook", "url": "https://me:zqSecret@backend.example/x"},
        {"type": "webhook", "url": "https://backend.example/zqSecret#x"},
        {"type": "webhook", "url": "https://backend.example:99999/zqSecret"},
        {"type": "webhook", "url": "https://backend.example/zqSecret\r\nHost: x"},
        {"type": "webhook", "url": "http://169.254.169.254/latest"},
        {"type": "webhook", "url": "http://[::ffff:169.254.169.254]/latest"},
        {"type": "webhook", "url": "https://backend.example/", "secret": "zqSecret"},
        {"type": "webhook", "url": "https://backend.example/", "secret": "whsec_zqSecret!"},
    ],
)
def test_what_cannot_be_sent_is_refused_and_no_secret_quoted(action: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        ACTION.validate_python({"message": "m"} | action)
    said = [str(item["msg"]) for item in refused.value.errors(include_url=False)]
    assert said
    assert "zqSecret" not in " ".join(said)


@pytest.mark.parametrize(
    "servers", ["", "kafka", "kafka:0", "kafka:99999", "kafka:1,", "a b:1", "http://kafka:9092", "x@y:1"]
)
def test_kafka_servers_have_a_host_and_a_port(servers: str) -> None:
    with pytest.raises(ValidationError, match=r"host:port"):
        KafkaServer(bootstrap_servers=servers)


def test_a_password_that_no_login_would_use_is_told() -> None:
    with pytest.raises(ValidationError, match="password without username"):
        mqtt_target({"host": "broker", "password": "hunter2"})
    with pytest.raises(ValidationError, match="password without username") as refused:
        kafka_target({"bootstrap_servers": "kafka:9092", "password": "hunter2"})
    assert "hunter2" not in str(refused.value.errors(include_url=False, include_input=False))


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"])
def test_no_broker_is_what_tells_a_machine_its_passwords(host: str) -> None:
    with pytest.raises(ValidationError, match="may not be connected to"):
        KafkaServer(bootstrap_servers=f"kafka:9092,{host}:9092")
    with pytest.raises(ValidationError, match="may not be connected to"):
        mqtt_target({"host": host.strip("[]")})


def test_targets_name_a_place_and_no_secret() -> None:
    kafka = kafka_target({"bootstrap_servers": "a:9092, [::1]:9093", "username": "u", "password": "zqSecret"})
    mqtt = mqtt_target({"host": "broker", "password": "zqSecret", "username": "u"})
    hook = webhook_target("https://hooks.example/zqSecret?zqSecret", "zqSecret" * 4, True)
    assert [one.place for one in (kafka, mqtt, hook)] == [
        "kafka at a:9092,[::1]:9093",
        "mqtt at broker:1883",
        "webhook at hooks.example:443",
    ]
    other = webhook_target("https://hooks.example/other", None, True)
    assert len({one.key for one in (kafka, mqtt, hook, other)}) == 4
    action = Webhook(type="webhook", url="https://h.example/zqSecret", secret="zqSecret" * 4, message="m")
    assert not [one for one in (kafka, mqtt, hook, action) if "zqSecret" in repr(one)]


def test_a_receiver_with_the_standards_library_accepts_the_signature() -> None:
    import time

    body, now = b'{"a": "\xc3\xbc"}', int(time.time())
    headers = {
        "webhook-id": "msg1",
        "webhook-timestamp": str(now),
        "webhook-signature": signature(signing_key(SECRET), "msg1", now, body),
    }
    assert Receiver(SECRET).verify(body, headers) == {"a": "ü"}
    with pytest.raises(Exception, match="No matching signature"):
        Receiver(SECRET).verify(body + b" ", headers)


def test_the_archives_secret_comes_before_the_workers_for_that_receiver_alone(tmp_path) -> None:
    file = tmp_path / "secret"
    file.write_text("of-the-file-0123456789\n")
    own = settings(
        webhook_secrets={"https://Backend.example:443": "of-the-worker-0123"},
        webhook_secret_files={"http://other.example:8080": str(file)},
    )

    def key(url: str, secret: str | None = None, signed: bool = True) -> bytes | None:
        return key_for(dict(webhook_target(url, secret, signed).settings), own)

    assert key("https://backend.example/hook") == b"of-the-worker-0123"
    assert key("https://backend.example/hook", SECRET) == bytes(range(32))
    assert key("http://other.example:8080/x") == b"of-the-file-0123456789"
    assert key("https://backend.example/hook", SECRET, False) is None
    for url in ("http://backend.example/", "https://backend.example:8443/", "https://backend.example.evil/"):
        with pytest.raises(TargetUnavailable, match=r"has a secret for https?://backend\.example"):
            key(url)
    file.unlink()
    with pytest.raises(TargetUnavailable, match=r"cannot be signed: .*No such file"):
        key("http://other.example:8080/x")


def test_settings_hide_the_secrets() -> None:
    assert "zqSecret" not in repr(settings(webhook_secrets={"https://a.example": "zqSecret-zqSecret"}))
    with pytest.raises(ValidationError):
        settings(webhook_secrets={"https://a.example/path": "zqSecret-zqSecret"})
