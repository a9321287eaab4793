"""What messages and REST bodies of the control server are made of."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, computed_field
from pydantic.fields import FieldInfo

from siwatsystem.messages import PRINTABLE, Text, Whole, spell_bounds

MAX_STREAMS = 256
"""Slots that one app may have."""
MAX_FILES = 10_000
"""Files that one request or message may name."""

StreamId = Annotated[Whole, Field(ge=0, lt=MAX_STREAMS, description="A slot of the app, from 0")]
StreamsCount = Annotated[Whole, Field(ge=1, le=MAX_STREAMS)]
CameraId = Annotated[Whole, Field(ge=-(2**63), lt=2**63, description="The caller's own number")]
FileId = Annotated[Whole, Field(ge=-(2**63), lt=2**63, description="The caller's own number")]
Count = Annotated[Whole, Field(ge=0)]
Gpu = Annotated[Whole, Field(ge=0, lt=1024)]
Place = Annotated[str, Field(max_length=4096, pattern=PRINTABLE)]
"""A path or an address; never empty where it is needed."""
NeededPlace = Annotated[str, Field(min_length=1, max_length=4096, pattern=PRINTABLE)]
Remark = Annotated[str, Field(max_length=4096)]
"""Something said to people."""
RequestId = Annotated[
    Whole | Text,
    Field(description="Made up by whoever asks; the answer repeats it, a repeat changes nothing"),
]
Timestamp = Annotated[Text | float, Field(description="ISO 8601, UTC; seconds since 1970 are read too")]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
FirstFrame = Annotated[Whole, Field(ge=0, description="Frame to go on from (extension)")]
CameraType = Literal["videostream", "fileset", "file"]
Acknowledged = Literal["ok", "error", "queued"]


def _spell_both(schema: dict[str, Any], model: type) -> None:
    """Where two spellings of a key are read, show both: pydantic shows the first."""
    properties = schema.get("properties", {})
    fields: dict[str, FieldInfo] = getattr(model, "model_fields", {})
    for field in fields.values():
        if not isinstance(field.validation_alias, AliasChoices):
            continue
        first, *others = [str(choice) for choice in field.validation_alias.choices]
        if first not in properties or any(other in properties for other in others):
            continue  # as it is written: with both
        properties.update((other, {**properties[first], "title": other}) for other in others)
        if first in schema.get("required", []):
            schema["required"] = [name for name in schema["required"] if name != first]
            spelled = {"anyOf": [{"required": [name]} for name in (first, *others)]}
            schema.setdefault("allOf", []).append(spelled)


def _complete(schema: dict[str, Any], model: type) -> None:
    """The models fill `type` in by themselves, on the wire it is always there; and an example."""
    spell_bounds(schema)
    properties = schema.get("properties", {})
    _spell_both(schema, model)
    if "const" in properties.get("type", {}):
        schema["required"] = ["type", *[name for name in schema.get("required", []) if name != "type"]]
    example = getattr(model, "EXAMPLE", {})
    if example:
        schema["examples"] = [example, *getattr(model, "MORE", ())]


class Wire(BaseModel):
    """A message, a body, or a part of one. Keys that nobody asked for are ignored."""

    model_config = ConfigDict(populate_by_name=True, frozen=True, extra="ignore", json_schema_extra=_complete)
    EXAMPLE: ClassVar[dict[str, Any]] = {}
    MORE: ClassVar[tuple[dict[str, Any], ...]] = ()
    """Further examples, of other forms."""


class Said(Wire):
    """A message."""

    request_id: RequestId | None = None


class OfCamera(Said):
    """A message about a camera in a slot."""

    stream_id: StreamId
    camera_id: CameraId


class NamedCamera(Wire):
    """A camera's path and name; two spellings are in use: both are written, either is read."""

    path: NeededPlace = Field(validation_alias=AliasChoices("path", "camera_path"))
    name: Text = Field("", validation_alias=AliasChoices("name", "camera_name"))

    @computed_field(description="The same as `path`")
    def camera_path(self) -> str:
        return self.path

    @computed_field(description="The same as `name`")
    def camera_name(self) -> str:
        return self.name


def plain(value: object) -> Any:
    """`value` as JSON values, without the optional keys that a model was not given."""
    if isinstance(value, BaseModel):
        model = type(value)
        given = value.model_fields_set
        body = {
            name: plain(found)
            for name in model.model_fields
            if (found := getattr(value, name)) is not None or name in given
        }
        body.update((name, getattr(value, name)) for name in model.model_computed_fields)
        return body
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]  # pyright: ignore[reportUnknownArgumentType]
    return value
