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
    """The whole document, as JSON values."""
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
        "channels": {
            "worker": {
                "address": "/",
                "messages": {
                    model.__name__: {"$ref": f"#/components/messages/{model.__name__}"} for model in models
                },
            }
        },
        "operations": {
            "toWorker": _operation("receive", TO_WORKER),
            "fromWorker": _operation("send", FROM_WORKER),
        },
        "components": {
            "messages": {model.__name__: _message(model) for model in models},
            "schemas": schemas["$defs"],
        },
    }


def _operation(action: str, models: tuple[type[Message], ...]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/worker"},
        "messages": [{"$ref": f"#/channels/worker/messages/{model.__name__}"} for model in models],
    }


def _message(model: type[Message]) -> dict[str, Any]:
    return {
        "name": model.model_fields["type"].default,
        "summary": (model.__doc__ or "").strip().splitlines()[0],
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }
