"""The worker's wire messages. The AsyncAPI document is generated from these models."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import orjson
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from siwatsystem.errors import ERROR_CODES, ErrorCode, InvalidMessage, UnknownType
from siwatsystem.json_text import loads


def _whole(value: object) -> object:
    """JSON has one kind of number: 100.0 is as whole as 100."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53 else value


def _given(value: object) -> object:
    return None if value == "" else value


_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def spell_bounds(schema: dict[str, Any]) -> None:
    """Put the bounds of a model's numbers in JSON Schema's words: pydantic writes its own behind a validator
    (`Whole`), and nobody reads those."""
    waiting: list[Any] = list(schema.get("properties", {}).values())
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            for own in _BOUNDS.keys() & part.keys():
                part[_BOUNDS[own]] = part.pop(own)
            waiting += [part.get("items"), *part.get("anyOf", [])]


def _complete(schema: dict[str, Any]) -> None:
    """The models fill `type` in by themselves; on the wire it is always there."""
    spell_bounds(schema)
    if "type" in schema.get("properties", {}):
        schema["required"] = ["type", *schema.get("required", [])]


Whole = Annotated[int, Field(strict=True), BeforeValidator(_whole)]
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
"""Names go into logs, keys, metrics and PostgreSQL: no control characters."""
Identifier = Annotated[str, Field(min_length=1, max_length=256, pattern=PRINTABLE)]
Text = Annotated[StrictStr, Field(max_length=256, pattern=PRINTABLE)]
SessionId = Whole | Text | None
ModelId = Whole | Annotated[StrictStr, Field(min_length=1, max_length=256, pattern=PRINTABLE)]
Url = Annotated[str, Field(max_length=4096)]
Usage = Annotated[float, Field(ge=0, le=100)]
CropEdge = Annotated[Whole, Field(ge=-(2**31), lt=2**31)]


class Message(BaseModel):
    """A message or a part of one. Keys that nobody asked for are ignored."""

    model_config = ConfigDict(populate_by_name=True, frozen=True, extra="ignore", json_schema_extra=_complete)


# --- to the worker ---------------------------------------------------------------------------


class NamedPayload(Message):
    """What names a subscription. The protocol's first generation said `cameraIdentifier`."""

    subscription_identifier: Identifier = Field(
        validation_alias=AliasChoices("subscriptionIdentifier", "cameraIdentifier"),
        serialization_alias="subscriptionIdentifier",
        description="`displayIdentifier;cameraIdentifier`",
    )
    legacy: SkipJsonSchema[bool] = Field(False, exclude=True, description="Named by `cameraIdentifier` alone")

    @model_validator(mode="before")
    @classmethod
    def _note_legacy(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        payload = dict(cast(Mapping[str, Any], data))
        if payload.get("subscriptionIdentifier") is None:
            payload.pop("subscriptionIdentifier", None)
        payload["legacy"] = "subscriptionIdentifier" not in payload and "cameraIdentifier" in payload
        return payload


class SubscribePayload(NamedPayload):
    """A display's interest in a camera, and the pipeline to run on it."""

    rtsp_url: Annotated[Url | None, BeforeValidator(_given)] = Field(
        None, alias="rtspUrl", description="Whatever FFmpeg opens"
    )
    snapshot_url: Annotated[Url | None, BeforeValidator(_given)] = Field(
        None, alias="snapshotUrl", description="With `snapshotInterval` it wins over `rtspUrl`"
    )
    snapshot_interval: Annotated[Whole, Field(ge=1, le=86_400_000)] | None = Field(
        None, alias="snapshotInterval", description="Milliseconds between two snapshots"
    )
    model_url: Annotated[Url, Field(min_length=1)] = Field(alias="modelUrl")
    model_name: Text = Field(alias="modelName")
    model_id: ModelId = Field(alias="modelId")
    crop_x1: CropEdge | None = Field(None, alias="cropX1")
    crop_y1: CropEdge | None = Field(None, alias="cropY1")
    crop_x2: CropEdge | None = Field(None, alias="cropX2")
    crop_y2: CropEdge | None = Field(None, alias="cropY2")

    @model_validator(mode="after")
    def _check(self) -> "SubscribePayload":
        if self.snapshot_url is not None and self.snapshot_interval is None and self.rtsp_url is None:
            raise ValueError("snapshotUrl needs a snapshotInterval")
        if self.snapshot_url is None and self.rtsp_url is None:
            raise ValueError("one of rtspUrl and snapshotUrl is needed")
        edges = (self.crop_x1, self.crop_y1, self.crop_x2, self.crop_y2)
        given = [edge for edge in edges if edge is not None]
        if given and len(given) < 4:
            raise ValueError("cropX1, cropY1, cropX2, cropY2: all four or none")
        if len(given) == 4 and not (given[0] < given[2] and given[1] < given[3]):
            raise ValueError("a crop needs cropX1 < cropX2 and cropY1 < cropY2")
        return self

    @property
    def crop(self) -> tuple[int, int, int, int] | None:
        if self.crop_x1 is None or self.crop_y1 is None or self.crop_x2 is None or self.crop_y2 is None:
            return None
        return self.crop_x1, self.crop_y1, self.crop_x2, self.crop_y2


class Subscribe(Message):
    """Start, or replace, a subscription. Acknowledged by the next `stateReport`."""

    type: Literal["subscribe"] = "subscribe"
    payload: SubscribePayload


class Unsubscribe(Message):
    """End a subscription; nothing more is sent for it."""

    type: Literal["unsubscribe"] = "unsubscribe"
    payload: NamedPayload


class RequestState(Message):
    """Ask for a `stateReport` now."""

    type: Literal["requestState"] = "requestState"


class SetSessionIdPayload(Message):
    display_identifier: Identifier = Field(alias="displayIdentifier")
    session_id: SessionId = Field(alias="sessionId")


class SetSessionId(Message):
    """Tell which visit a display is in; null ends it."""

    type: Literal["setSessionId"] = "setSessionId"
    payload: SetSessionIdPayload


class PatchSessionIn(Message):
    """Merge `data` into the worker's copy of a session; answered by `patchSessionResult`."""

    type: Literal["patchSession"] = "patchSession"
    session_id: Whole | Text = Field(alias="sessionId")
    data: dict[str, Any]


class PatchResultPayload(Message):
    session_id: SessionId = Field(alias="sessionId")
    success: StrictBool
    message: str | None = ""


class PatchSessionResult(Message):
    """The answer to a `patchSession`, in either direction."""

    type: Literal["patchSessionResult"] = "patchSessionResult"
    payload: PatchResultPayload


Command = Annotated[
    Subscribe | Unsubscribe | RequestState | SetSessionId | PatchSessionIn | PatchSessionResult,
    Field(discriminator="type"),
]
COMMANDS: TypeAdapter[
    Subscribe | Unsubscribe | RequestState | SetSessionId | PatchSessionIn | PatchSessionResult
] = TypeAdapter(Command)
COMMAND_TYPES = (
    "subscribe",
    "unsubscribe",
    "requestState",
    "setSessionId",
    "patchSession",
    "patchSessionResult",
)


# --- from the worker -------------------------------------------------------------------------


class CameraConnection(Message):
    subscription_identifier: str = Field(alias="subscriptionIdentifier")
    camera_identifier: str | None = Field(None, alias="cameraIdentifier", description="First generation only")
    model_id: ModelId = Field(alias="modelId")
    model_name: str = Field(alias="modelName")
    online: bool = Field(description="Fresh frames arrive and the pipeline is loaded")
    crop_x1: int | None = Field(None, alias="cropX1")
    crop_y1: int | None = Field(None, alias="cropY1")
    crop_x2: int | None = Field(None, alias="cropX2")
    crop_y2: int | None = Field(None, alias="cropY2")


class StateReport(Message):
    """How the machine and this connection's cameras are. The two GPU usages are null without a GPU."""

    type: Literal["stateReport"] = "stateReport"
    cpu_usage: Usage = Field(alias="cpuUsage")
    memory_usage: Usage = Field(alias="memoryUsage")
    gpu_usage: Usage | None = Field(alias="gpuUsage")
    gpu_memory_usage: Usage | None = Field(alias="gpuMemoryUsage")
    camera_connections: list[CameraConnection] = Field(alias="cameraConnections")
    failed: list[str] | None = Field(None, description="Parts of the worker that have failed (extension)")


class DetectionData(Message):
    detection: dict[str, str | int | float | bool | None] = Field(
        description="Attributes; as extensions `class`, `confidence`, `trackId`, "
        "`<attribute>Confidence`, `<attribute>Support` (share of a track's votes)"
    )
    bounding_box: list[float] | None = Field(
        None, alias="boundingBox", description="x1, y1, x2, y2 in full-frame pixels (extension)"
    )
    model_id: ModelId = Field(alias="modelId")
    model_name: str = Field(alias="modelName")


class ImageDetection(Message):
    """A relevant object was seen."""

    type: Literal["imageDetection"] = "imageDetection"
    subscription_identifier: str = Field(alias="subscriptionIdentifier")
    camera_identifier: str | None = Field(None, alias="cameraIdentifier", description="First generation only")
    timestamp: str = Field(description="When the frame was captured, UTC, milliseconds")
    session_id: Whole | Text | None = Field(
        None, alias="sessionId", description="Only while the display has a session (extension)"
    )
    data: DetectionData


class CurrentCar(Message):
    """What is known of the car of a visit."""

    car_model: str | None = Field(None, alias="carModel")
    car_brand: str | None = Field(None, alias="carBrand")
    car_year: int | None = Field(None, alias="carYear")
    body_type: str | None = Field(None, alias="bodyType")
    license_plate_text: str | None = Field(None, alias="licensePlateText")
    license_plate_type: str | None = Field(None, alias="licensePlateType")


class PatchData(Message):
    current_car: CurrentCar = Field(alias="currentCar")


class PatchSessionOut(Message):
    """What could not be told in real time, the newest values of a session in one message."""

    type: Literal["patchSession"] = "patchSession"
    session_id: Whole | Text = Field(alias="sessionId")
    data: PatchData


class ErrorMessage(Message):
    """A refused command or a failure in the background (extension).

    A failure that lasts is told once when it begins and once, with `resolved`, when it has ended.
    """

    type: Literal["error"] = "error"
    error: str
    code: ErrorCode = Field(description="One of: " + ", ".join(ERROR_CODES))
    subscription_identifier: str | None = Field(None, alias="subscriptionIdentifier")
    camera_identifier: str | None = Field(None, alias="cameraIdentifier", description="First generation only")
    resolved: bool | None = Field(None, description="true: the failure told before under this code is over")


Outgoing = StateReport | ImageDetection | PatchSessionOut | PatchSessionResult | ErrorMessage

CURRENT_CAR_KEYS = frozenset(
    field.alias for field in CurrentCar.model_fields.values() if field.alias is not None
)
"""The only keys that a `patchSession` from the worker may carry."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A message that was written straight as JSON, once; `encode` of its model gives the same text.

    `subscription_identifier`: whom it is about, where it is about one subscription.
    """

    type: str
    text: str
    subscription_identifier: str | None = None


Sendable = Outgoing | Encoded


def encode(message: Sendable) -> str:
    """The message as JSON text, without the optional keys it does not have."""
    if isinstance(message, Encoded):
        return message.text
    body = message.model_dump(by_alias=True, exclude_unset=True, exclude_none=False)
    return orjson.dumps({"type": message.type, **body}, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def decode(text: str, max_depth: int = 32) -> Command:
    """One command. Raises InvalidJson, TooDeep, UnknownType or InvalidMessage: what is wrong, and where."""
    value = loads(text, max_depth)
    if not isinstance(value, dict):
        raise InvalidMessage("a message must be a JSON object")
    kind: object = cast(dict[str, Any], value).get("type")
    if kind is None:
        raise InvalidMessage("type: missing; one of " + ", ".join(COMMAND_TYPES))
    if not isinstance(kind, str) or kind not in COMMAND_TYPES:
        raise UnknownType(f"type: {shorten(kind)} is not one of " + ", ".join(COMMAND_TYPES))
    try:
        return COMMANDS.validate_python(value)
    except ValidationError as error:
        raise InvalidMessage(describe(error)) from None


def describe(error: ValidationError) -> str:
    """The first few mistakes, each with its path and what is allowed."""
    reasons: dict[str, list[str]] = {}
    given: dict[str, str] = {}
    for item in error.errors(include_url=False):
        path = ".".join(str(part) for part in item["loc"][1:] if _is_key(part)) or "message"
        reason = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if item["type"] == "string_pattern_mismatch":
            reason = "should hold no control characters"
        known = reasons.setdefault(path, [])
        if reason not in known:
            known.append(reason)
        if item["type"] not in ("missing", "value_error"):
            given[path] = f" (not {shorten(item['input'])})"
    lines = [
        f"{path}: {' or '.join(texts).replace(' or should be', ' or')}{given.get(path, '')}"
        for path, texts in reasons.items()
    ]
    return "; ".join(lines[:4])


def _is_key(part: str | int) -> bool:
    """Whether a step of pydantic's path is the message's own, not the name of a kind in a union."""
    return isinstance(part, int) or (part.isidentifier() and part not in ("int", "str", "float", "bool"))


def shorten(value: object, most: int = 60) -> str:
    """`value` for an error message: short, and never a nested structure or an address."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    if "://" in text:
        return "an address"
    return text if len(text) <= most else text[:most] + "…"
