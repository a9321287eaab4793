"""Which actions there are: the configuration of each, the server it goes to, and what carries it out.

A new action: its model in `spec` (and in `spec.Action`), a function in `build` that makes its job, its
kind in `base.JobKind`, a branch in the `deliver` of its server's sink, and a line here. A new server: its
target in `targets`, `brokers` or `receivers`, a sink, and its opening here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from siwatsystem.actions.base import JobKind
from siwatsystem.actions.jobs import StoredJob
from siwatsystem.actions.spec import (
    ActionModel,
    KafkaPublish,
    MqttPublish,
    Publish,
    SaveImage,
    UpdateCombined,
    Webhook,
)
from siwatsystem.actions.targets import TargetKind, reached
from siwatsystem.config import OutboxSettings

IMAGE, MESSAGE, RECORD = range(3)
"""What is dropped first when the outbox is full."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job: its server, its rank among what is dropped, its configuration where it has one."""

    server: TargetKind
    rank: int
    model: type[ActionModel] | None = None


KINDS: Mapping[JobKind, Kind] = {
    "redis_save_image": Kind("redis", IMAGE, SaveImage),
    "redis_publish": Kind("redis", MESSAGE, Publish),
    "postgresql_initial_record": Kind("postgresql", RECORD),
    "postgresql_update_combined": Kind("postgresql", RECORD, UpdateCombined),
    "mqtt_publish": Kind("mqtt", MESSAGE, MqttPublish),
    "kafka_publish": Kind("kafka", MESSAGE, KafkaPublish),
    "webhook": Kind("webhook", MESSAGE, Webhook),
}


def kinds_of(server: TargetKind) -> list[JobKind]:
    """The kinds of jobs that go to such a server."""
    return [name for name, kind in KINDS.items() if kind.server == server]


class Sink(Protocol):
    """A server as the outbox sees it; used by one thread."""

    def deliver(self, job: StoredJob) -> None:
        """Do it. Raises TargetUnavailable (try again later), TargetContended (the same, for this job
        alone) or ActionFailed (it was refused)."""
        ...

    def close(self) -> None: ...

    def cut(self) -> None:
        """From any thread, never blocking: make a call that hangs come back, as far as that can be done."""
        ...


def open_sink(
    kind: TargetKind, config: Mapping[str, Any], settings: OutboxSettings, *, patient: bool = False
) -> Sink:
    """The driver of a server; it connects at its first job. Loads the server's library. Only a `patient`
    one gives a statement all the time that the settings allow. Raises TargetUnavailable for a host that
    has no address, or one that may not be used."""
    if kind == "kafka":
        from siwatsystem.actions.kafka import KafkaSink

        # The cluster names further servers: each address is checked where it is connected to.
        return KafkaSink(config, settings)
    there = reached(config, settings.command_timeout_sec)
    if kind == "mqtt":
        from siwatsystem.actions.mqtt import MqttSink

        return MqttSink(config, there["host"], settings)
    if kind == "webhook":
        from siwatsystem.actions.webhook import WebhookSink

        return WebhookSink(config, there["host"], settings)
    if kind == "redis":
        from siwatsystem.actions.redis import RedisSink

        return RedisSink(there, settings)
    from siwatsystem.actions.postgres import PostgresqlSink

    if there is not config:
        # TLS asks for the name (certificates, and servers that stand for several); it is not resolved again.
        there = {**config, "hostaddr": there["host"]}
    return PostgresqlSink(there, settings, patient=patient)
