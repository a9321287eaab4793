"""Servers that actions go to: how to reach one, and the key under which it is shared."""

import contextlib
import hashlib
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from siwatsystem.errors import TargetUnavailable
from siwatsystem.identifiers import is_identifier
from siwatsystem.networks import addresses_of, is_forbidden, literal_ip

TargetKind = Literal["redis", "postgresql", "mqtt", "kafka", "webhook"]
FORBIDDEN = "may not be connected to: it is link-local, a cloud's metadata, or no machine"
Port = Annotated[int, Field(ge=1, le=65535)]


def _schema(name: str) -> str:
    if not is_identifier(name):
        raise ValueError(f"{name!r} is no name of a schema: letters, digits and _, at most 63")
    return name


def usable_host(name: str) -> str:
    """The host, if it may be one. Raises ValueError for an address that nothing may be sent to."""
    address = literal_ip(name)
    if address is not None and is_forbidden(address):
        raise ValueError(f"{name} {FORBIDDEN}")
    return name


class ServerModel(BaseModel):
    """What servers' settings share; unknown keys are kept in `model_extra`."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, populate_by_name=True)

    host: Annotated[str, Field(min_length=1), AfterValidator(usable_host)]
    port: Port


class RedisServer(ServerModel):
    """`redis` of pipeline.json."""

    password: str | None = Field(default=None, repr=False)
    username: str | None = None
    db: Annotated[int, Field(ge=0)] = 0


class PostgresqlServer(ServerModel):
    """`postgresql` of pipeline.json."""

    database: Annotated[str, Field(min_length=1)]
    username: Annotated[str, Field(min_length=1)]
    password: str = Field(default="", repr=False)
    schema_name: Annotated[str, AfterValidator(_schema), Field(alias="schema")] = "gas_station_1"


@dataclass(frozen=True, slots=True)
class Target:
    """A server; `settings` is empty for the worker's own embedded one. Its repr shows no password."""

    kind: TargetKind
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def embedded(self) -> bool:
        return not self.settings

    @property
    def key(self) -> str:
        """The same for the same server, user and database, whichever archive names it."""
        if self.embedded:
            return f"{self.kind}:embedded"
        text = json.dumps(self.settings, sort_keys=True)
        return f"{self.kind}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def place(self) -> str:
        """Where it is, for people: no secret in it."""
        if self.embedded:
            return f"embedded {self.kind}"
        values = dict(self.settings)
        where = values.get("bootstrap_servers") or f"{values['host']}:{values['port']}"
        return f"{self.kind} at {where}"

    def __repr__(self) -> str:
        return f"Target({self.place})"


def redis_target(config: RedisServer | Mapping[str, Any] | Literal["embedded"]) -> Target:
    """The target of a `redis` entry. Raises pydantic's ValidationError."""
    if config == "embedded":
        return Target("redis")
    model = config if isinstance(config, RedisServer) else RedisServer.model_validate(config)
    return Target("redis", settings_of(model))


def postgresql_target(config: PostgresqlServer | Mapping[str, Any] | Literal["embedded"]) -> Target:
    """The target of a `postgresql` entry. Raises pydantic's ValidationError."""
    if config == "embedded":
        return Target("postgresql")
    model = config if isinstance(config, PostgresqlServer) else PostgresqlServer.model_validate(config)
    return Target("postgresql", settings_of(model))


def reached(config: Mapping[str, Any], timeout: float) -> Mapping[str, Any]:
    """`config` with the checked address that its host stands for now, so that drivers ask nobody else.

    Of several addresses it is the first that accepts a connection within `timeout` seconds. A path, which
    is a socket of this machine, stays. Raises TargetUnavailable for a name without an address, and where
    one of them may not be used.
    """
    host, port = str(config["host"]), config["port"]
    if host.startswith("/"):
        return config
    try:
        found = addresses_of(host, port, timeout)
    except OSError as error:
        raise TargetUnavailable(str(error)) from None
    for each in found:
        ip = literal_ip(each)
        if ip is None or is_forbidden(ip):
            raise TargetUnavailable(f"{host} {FORBIDDEN}")
    return {**config, "host": found[0] if len(found) == 1 else _accepting(found, port, timeout)}


def _accepting(addresses: list[str], port: int, timeout: float) -> str:
    """`localhost` is both 127.0.0.1 and ::1, and few servers listen on both."""
    for address in addresses:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout):
            return address
    return addresses[0]


def settings_of(model: BaseModel) -> tuple[tuple[str, Any], ...]:
    """A server's settings as a target keeps them."""
    values = {name: getattr(model, name) for name in type(model).model_fields}
    if "schema_name" in values:
        values["schema"] = values.pop("schema_name")
    return tuple(sorted(values.items()))
