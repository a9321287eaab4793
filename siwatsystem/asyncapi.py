"""The AsyncAPI 3 description of `WS /`, generated from the message models."""

from typing import Any

from pydantic.json_schema import models_json_schema

from siwatsystem.messages import (
    ErrorMessage,
    ImageDetection,
    Message,
    PatchSessionIn,
    PatchSessionOut,
    PatchSessionResult,
    RequestState,
    SetSessionId,
    StateReport,
    Subscribe,
    Unsubscribe,
)

TO_WORKER: tuple[type[Message], ...] = (
    Subscribe,
    Unsubscribe,
    RequestState,
    SetSessionId,
    PatchSessionIn,
    PatchSessionResult,
)
FROM_WORKER: tuple[type[Message], ...] = (
    StateReport,
    ImageDetection,
    PatchSessionOut,
    PatchSessionResult,
    ErrorMessage,
)
REF = "#/components/schemas/{model}"


def document(version: str) -> dict[str, Any]:
    """The whole document, as JSON values. `version` is the worker's."""
    models = tuple(dict.fromkeys((*TO_WORKER, *FROM_WORKER)))
    _, schemas = models_json_schema(
        [(model, "validation" if model in TO_WORKER else "serialization") for model in models],
        by_alias=True,
        ref_template=REF,
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Detector worker",
            "version": version,
            "description": "Subscribe displays to cameras and hear what is seen. JSON text messages.",
            "license": {"name": "AGPL-3.0-only"},
        },
        "defaultContentType": "application/json",
        "channels": {"toWorker": _channel(TO_WORKER), "fromWorker": _channel(FROM_WORKER)},
        "operations": {
            "receive": _operation("receive", "toWorker", TO_WORKER),
            "send": _operation("send", "fromWorker", FROM_WORKER),
        },
        "components": {
            "messages": {model.__name__: _message(model) for model in models},
            "schemas": schemas["$defs"],
        },
    }


def _channel(models: tuple[type[Message], ...]) -> dict[str, Any]:
    # One socket, but a channel for each direction: within one, a message must fit a single model.
    return {
        "address": "/",
        "messages": {model.__name__: {"$ref": f"#/components/messages/{model.__name__}"} for model in models},
        "bindings": {"ws": {"method": "GET"}},
    }


def _operation(action: str, channel: str, models: tuple[type[Message], ...]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{model.__name__}"} for model in models],
    }


def _message(model: type[Message]) -> dict[str, Any]:
    return {
        "name": model.model_fields["type"].default,
        "title": model.__name__,
        "summary": (model.__doc__ or "").strip().splitlines()[0],
        "payload": {"$ref": REF.format(model=model.__name__)},
    }
