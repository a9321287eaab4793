"""Configuration of actions as `pipeline.json` writes it.

Unknown keys are kept in `model_extra`, so that whoever opens an archive can name them; wrong types
are errors.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from siwatsystem.identifiers import is_identifier, is_table_name


def _identifier(name: str) -> str:
    if not is_identifier(name):
        raise ValueError(f"{name!r} is no name of a column: letters, digits and _, at most 63")
    return name


def _table(name: str) -> str:
    if not is_table_name(name):
        raise ValueError(f"{name!r} is no name of a table: name or schema.name of letters, digits and _")
    return name


PictureFormat = Literal["jpeg", "png"]
Identifier = Annotated[str, AfterValidator(_identifier)]
TableName = Annotated[str, AfterValidator(_table)]


class ActionModel(BaseModel):
    """What all actions share."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, populate_by_name=True)

    def templates(self) -> dict[str, str]:
        """Texts that may hold placeholders, by their path below the action (`fields.car_brand`)."""
        return {}


class SaveImage(ActionModel):
    """`redis_save_image`: the region (else the frame) under `key`."""

    type: Literal["redis_save_image"]
    key: Annotated[str, Field(min_length=1)]
    region: str | None = None
    format: PictureFormat = "jpeg"
    quality: Annotated[int, Field(ge=1, le=100)] = 90
    expire_seconds: Annotated[float, Field(gt=0, le=10 * 365 * 86400)] | None = None

    def templates(self) -> dict[str, str]:
        return {"key": self.key}


class Publish(ActionModel):
    """`redis_publish`: a message on a channel; a JSON object is completed."""

    type: Literal["redis_publish"]
    channel: Annotated[str, Field(min_length=1)]
    message: str

    def templates(self) -> dict[str, str]:
        return {"channel": self.channel, "message": self.message}


class UpdateCombined(ActionModel):
    """`postgresql_update_combined`: upsert of `fields` into the row whose `key_field` is `key_value`."""

    type: Literal["postgresql_update_combined"]
    table: TableName
    key_field: Identifier
    key_value: str = "{session_id}"
    wait_for_branches: Annotated[tuple[str, ...], Field(alias="waitForBranches", strict=False)] = ()
    fields: Annotated[dict[Identifier, str | int | float | bool | None], Field(min_length=1)]

    def templates(self) -> dict[str, str]:
        fields = {f"fields.{name}": text for name, text in self.fields.items() if isinstance(text, str)}
        return {"key_value": self.key_value} | fields


Action = Annotated[SaveImage | Publish | UpdateCombined, Field(discriminator="type")]
"""Any action; pydantic chooses by `type`."""
