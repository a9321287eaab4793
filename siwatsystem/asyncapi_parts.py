"""An AsyncAPI 3 description of a WebSocket, generated from message models: of whichever server."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

REF = "#/components/schemas/{model}"

Models = tuple[type[BaseModel], ...]


@dataclass(frozen=True, slots=True)
class Socket:
    """A WebSocket as its server sees it.

    `receives` and `sends` name the channels and give their messages. Each model's `type` has its constant as
    default; `EXAMPLE` and `MORE`, where it has them, are examples.
    """

    title: str
    description: str
    address: str
    receives: tuple[str, Models]
    sends: tuple[str, Models]


def describe(socket: Socket, version: str) -> dict[str, Any]:
    """The whole document, as JSON values. `version` is the server's."""
    (incoming, received), (outgoing, sent) = socket.receives, socket.sends
    models = tuple(dict.fromkeys((*received, *sent)))
    _, schemas = models_json_schema(
        [(model, "validation" if model in received else "serialization") for model in models],
        by_alias=True,
        ref_template=REF,
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": socket.title,
            "version": version,
            "description": socket.description,
            "license": {"name": "AGPL-3.0-only"},
        },
        "defaultContentType": "application/json",
        "channels": {
            incoming: _channel(socket.address, received),
            outgoing: _channel(socket.address, sent),
        },
        "operations": {
            "receive": _operation("receive", incoming, received),
            "send": _operation("send", outgoing, sent),
        },
        "components": {
            "messages": {model.__name__: _message(model) for model in models},
            "schemas": schemas["$defs"],
        },
    }


def _channel(address: str, models: Models) -> dict[str, Any]:
    # One socket, but a channel for each direction: within one, a message must fit a single model.
    return {
        "address": address,
        "messages": {model.__name__: {"$ref": f"#/components/messages/{model.__name__}"} for model in models},
        "bindings": {"ws": {"method": "GET"}},
    }


def _operation(action: str, channel: str, models: Models) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{model.__name__}"} for model in models],
    }


def _message(model: type[BaseModel]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": model.model_fields["type"].default,
        "title": model.__name__,
        "summary": (model.__doc__ or "").strip().splitlines()[0],
        "payload": {"$ref": REF.format(model=model.__name__)},
    }
    example: dict[str, Any] = getattr(model, "EXAMPLE", {})
    if example:
        described["examples"] = [{"payload": each} for each in (example, *getattr(model, "MORE", ()))]
    return described
