"""Message brokers that archives name beside `redis` and `postgresql` (extensions)."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from siwatsystem.actions.targets import Port, ServerModel, Target, settings_of, usable_host

_BOOTSTRAP = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s\[\]:,/@]+):(?P<port>\d{1,5})")


def _bootstrap(text: str) -> str:
    found: list[str] = []
    for part in text.split(","):
        match = _BOOTSTRAP.fullmatch(part.strip())
        if match is None or not 0 < int(match["port"]) <= 65535:
            raise ValueError(f"{part.strip()!r} is no server: host:port, several with commas between them")
        usable_host(match["host"].strip("[]"))
        found.append(match[0])
    return ",".join(found)


class MqttServer(ServerModel):
    """`mqtt` of pipeline.json."""

    port: Port = 1883
    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    tls: bool = False
    version: Literal["5", "3.1.1"] = "5"
    """Of the protocol. With 3.1.1 a broker cannot say that it refused a message."""

    @model_validator(mode="after")
    def _login(self) -> Self:
        _check_login(self.username, self.password)
        return self


class KafkaServer(BaseModel):
    """`kafka` of pipeline.json; unknown keys are kept in `model_extra`."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, populate_by_name=True)

    bootstrap_servers: Annotated[str, AfterValidator(_bootstrap)]
    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    sasl: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How `username` and `password` are shown to the broker."""
    tls: bool = False

    @model_validator(mode="after")
    def _login(self) -> Self:
        _check_login(self.username, self.password)
        return self


def _check_login(username: str | None, password: str | None) -> None:
    """Raises ValueError for a password that no login would use."""
    if password is not None and username is None:
        raise ValueError("password without username")


def mqtt_target(config: MqttServer | Mapping[str, Any]) -> Target:
    """The target of an `mqtt` entry. Raises pydantic's ValidationError."""
    model = config if isinstance(config, MqttServer) else MqttServer.model_validate(config)
    return Target("mqtt", settings_of(model))


def kafka_target(config: KafkaServer | Mapping[str, Any]) -> Target:
    """The target of a `kafka` entry. Raises pydantic's ValidationError."""
    model = config if isinstance(config, KafkaServer) else KafkaServer.model_validate(config)
    return Target("kafka", settings_of(model))
