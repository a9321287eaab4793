"""What a worker sent, as an object: forgiving, because the worker may be newer than this client."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import orjson
from pydantic import Field, ValidationError

from siwatsystem.messages import (
    ImageDetection,
    Message,
    PatchSessionOut,
    PatchSessionResult,
    StateReport,
    describe,
)


class WorkerError(Message):
    """An `error` of the worker. Codes that this client does not know are taken as they are."""

    type: Literal["error"] = "error"
    error: str = ""
    code: str
    subscription_identifier: str | None = Field(None, alias="subscriptionIdentifier")
    resolved: bool | None = Field(None, description="true: the failure told before under this code is over")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What is no message that this client knows: `value` is its JSON, or the text where it is none."""

    value: object
    reason: str


Known = StateReport | ImageDetection | PatchSessionOut | PatchSessionResult | WorkerError
Received = Known | Unreadable

_MODELS: dict[str, type[Known]] = {
    "stateReport": StateReport,
    "imageDetection": ImageDetection,
    "patchSession": PatchSessionOut,
    "patchSessionResult": PatchSessionResult,
    "error": WorkerError,
}


def read(text: str | bytes) -> Received:
    """One message of the worker. Keys that nobody knows are ignored; nothing is raised."""
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return Unreadable(text, f"not JSON: {error}")
    if not isinstance(value, dict):
        return Unreadable(value, "not a JSON object")
    fields = cast(dict[str, Any], value)
    kind: object = fields.get("type")
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        return Unreadable(fields, f"unknown type {kind!r}")
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        return Unreadable(fields, describe(error))
