"""Configuration of actions as `pipeline.json` writes it.

Unknown keys are kept in `model_extra`, so that whoever opens an archive can name them; wrong types
are errors.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from siwatsystem.actions.receivers import usable_secret, usable_url
from siwatsystem.identifiers import is_identifier, is_table_name


def _identifier(name: str) -> str:
    if not is_identifier(name):
        raise ValueError(f"{name!r} is no name of a column: letters, digits and _, at most 63")
    return name


def _table(name: str) -> str:
    if not is_table_name(name):
        raise ValueError(f"{name!r} is no name of a table: name or schema.name of letters, digits and _")
    return name


def _mqtt_topic(topic: str) -> str:
    if re.search(r"[+#\0]", topic):
        raise ValueError(
            f"{topic!r} is no topic to publish on: + and # stand for several, NUL is not allowed"
        )
    return topic


def _kafka_topic(topic: str) -> str:
    if not re.fullmatch(r"[\w.-]{0,249}", re.sub(r"\{[\w.-]+\}", "", topic), re.ASCII):
        raise ValueError(f"{topic!r} is no topic: letters, digits, ., _ and -, at most 249, and placeholders")
    return topic


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


class Message(ActionModel):
    """What says something to somebody; a message that is a JSON object is completed."""

    message: str


class Publish(Message):
    """`redis_publish`: a message on a channel."""

    type: Literal["redis_publish"]
    channel: Annotated[str, Field(min_length=1)]

    def templates(self) -> dict[str, str]:
        return {"channel": self.channel, "message": self.message}


class MqttPublish(Message):
    """`mqtt_publish`: a message on a topic, for new subscribers too where it is retained."""

    type: Literal["mqtt_publish"]
    topic: Annotated[str, Field(min_length=1), AfterValidator(_mqtt_topic)]
    retain: bool = False

    def templates(self) -> dict[str, str]:
        return {"topic": self.topic, "message": self.message}


class KafkaPublish(Message):
    """`kafka_publish`: a message in a topic; those of one `key` stay in their order."""

    type: Literal["kafka_publish"]
    topic: Annotated[str, Field(min_length=1), AfterValidator(_kafka_topic)]
    key: str | None = None

    def templates(self) -> dict[str, str]:
        key = {} if self.key is None else {"key": self.key}
        return {"topic": self.topic, "message": self.message} | key


class Webhook(Message):
    """`webhook`: a message by HTTP POST, signed with `secret`, else with the worker's for that receiver."""

    type: Literal["webhook"]
    url: Annotated[str, AfterValidator(usable_url)] = Field(repr=False)
    secret: Annotated[str, AfterValidator(usable_secret)] | None = Field(default=None, repr=False)
    signed: bool = True

    def templates(self) -> dict[str, str]:
        return {"message": self.message}


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


MessageAction = Publish | MqttPublish | KafkaPublish | Webhook
NodeAction = Annotated[SaveImage | MessageAction, Field(discriminator="type")]
"""What may follow on a detection of the node itself."""
Action = Annotated[SaveImage | MessageAction | UpdateCombined, Field(discriminator="type")]
"""Any action; pydantic chooses by `type`."""
