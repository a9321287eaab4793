"""The models that pipeline.json is read into. Keys are camelCase there and snake_case here."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag
from pydantic.alias_generators import to_camel

from siwatsystem.actions.brokers import KafkaServer, MqttServer
from siwatsystem.actions.spec import Action, NodeAction, Webhook
from siwatsystem.actions.targets import PostgresqlServer, RedisServer
from siwatsystem.pipeline.fields import ArchivePath, Fraction, SpecModel
from siwatsystem.pipeline.tracking import Tracking, Voting

RESULT_WORDS = {
    "brand": "brand",
    "body": "body_type",
    "bodytype": "body_type",
    "color": "color",
    "model": "model",
    "year": "year",
}
"""Words of a `modelId` that say what its classification is about, first match in this order."""
ATTRIBUTES = {"brand": "carBrand", "model": "carModel", "year": "carYear", "body_type": "bodyType"}
"""Keys of `imageDetection.detection` that differ from the result's name in camelCase."""
RESULT_FIELDS = ("class", "confidence", "id", "support", "votes", "settled")
"""Fields that every node's result has; the last three say how sure a track's votes are."""


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _result_name(name: str) -> str:
    if not name.isidentifier() or name in RESULT_FIELDS[1:]:
        taken = ", ".join(RESULT_FIELDS[1:])
        raise ValueError(f"{name!r} cannot name a result: letters, digits and _, none of {taken}")
    return name


def _kind(value: object) -> str:
    return "server" if isinstance(value, dict | BaseModel) else "embedded"


Side = Annotated[int, Field(ge=1, le=8192)]
Text = Annotated[str, Field(min_length=1)]
Classes = Annotated[tuple[Text, ...], Field(strict=False), AfterValidator(_distinct)]
Embedded = Annotated[Literal["embedded"], Tag("embedded")]


class Node(SpecModel):
    """One model of a pipeline and what happens with what it finds."""

    model_id: Text
    """Unique name of the node; templates and results refer to it."""
    model_file: ArchivePath
    """Path of the weights inside the archive."""
    min_confidence: Fraction
    """Least confidence of the node's own boxes; on a branch also of the region that triggers it."""
    trigger_classes: Classes
    """Root: classes of interest. Branch: classes of its parent that trigger it."""
    crop: bool = False
    """Run on the parent's region instead of the whole picture."""
    crop_class: Text | None = None
    """Class of that region; default: the class that triggered."""
    resize_target: Annotated[tuple[Side, Side], Field(strict=False)] | None = None
    """Width and height that the crop is stretched to; default: the model's own input."""
    multi_class: bool = False
    """Several classes at once."""
    expected_classes: Classes = ()
    """Classes of which at least one must be there, or the frame ends here."""
    parallel: bool = False
    """Run beside the parallel siblings."""
    branches: Annotated[tuple["Node", ...], Field(strict=False)] = ()
    """Nodes that run on what this one found."""
    actions: Annotated[tuple[NodeAction, ...], Field(strict=False)] = ()
    """Images and messages, in order, on a detection of this node."""
    parallel_actions: Annotated[tuple[Action, ...], Field(strict=False)] = ()
    """Actions after the branches they wait for."""
    tracking: Tracking | None = None
    """How detections are followed from frame to frame."""
    voting: Voting = Voting()
    """When its classes over the frames of a track settle on one."""
    object_class: Text | None = None
    """One event per object of this class; its parts are the regions whose centre lies in its box."""
    result_field: Annotated[str, AfterValidator(_result_name)] | None = None
    """Name under which templates read the class (`{modelId.resultField}`)."""
    attribute: Text | None = None
    """Key of the result in `imageDetection.detection`."""
    read_text: bool = False
    """The boxes are characters: their classes joined in reading order are the result's class."""
    min_result_confidence: Fraction | None = None
    """A classification below it yields nothing."""

    @property
    def result_name(self) -> str | None:
        """`resultField`, else what the words of `modelId` say, else None: only `class` is there."""
        return self.result_field or default_result_name(self.model_id)

    @property
    def attribute_name(self) -> str | None:
        """Key in `imageDetection.detection`; None where nothing says what the result is."""
        if self.attribute is not None:
            return self.attribute
        name = self.result_name
        if name is None or name == "class":
            return None
        return ATTRIBUTES.get(name) or to_camel(name)

    def walk(self) -> Iterator["Node"]:
        """This node, then all below it, each before its branches, in the order of the file."""
        yield self
        for branch in self.branches:
            yield from branch.walk()

    @property
    def tracked(self) -> bool:
        return self.tracking is not None and self.tracking.enabled


class PipelineSpec(SpecModel):
    """A whole pipeline.json."""

    pipeline: Node
    """The root node."""
    redis: Annotated[Embedded | Annotated[RedisServer, Tag("server")], Discriminator(_kind)] | None = None
    """Server of the `redis_*` actions, or `embedded` for the worker's own."""
    postgresql: (
        Annotated[Embedded | Annotated[PostgresqlServer, Tag("server")], Discriminator(_kind)] | None
    ) = None
    """Server of the records, or `embedded` for the worker's own."""
    mqtt: MqttServer | None = None
    """Broker of `mqtt_publish`."""
    kafka: KafkaServer | None = None
    """Cluster of `kafka_publish`."""

    @property
    def webhooks(self) -> list[Webhook]:
        """All actions of that kind."""
        return [
            action
            for node in self.pipeline.walk()
            for action in (*node.actions, *node.parallel_actions)
            if isinstance(action, Webhook)
        ]

    @property
    def files(self) -> list[str]:
        """Paths inside the archive that it needs, each once."""
        names: list[str] = []
        for node in self.pipeline.walk():
            names.append(node.model_file)
            if node.tracking is not None and node.tracking.reid_model is not None:
                names.append(node.tracking.reid_model)
        return list(dict.fromkeys(names))


@lru_cache(maxsize=1024)
def default_result_name(model_id: str) -> str | None:
    """What the words of a model id say that its classification is about; None where they do not."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", model_id)]
    return next((name for word, name in RESULT_WORDS.items() if word in words), None)


def result_fields(model_id: str, result_field: str | None) -> set[str]:
    """Names `modelId.field` that templates may read of a node."""
    own = result_field or default_result_name(model_id) or "class"
    return {f"{model_id}.{name}" for name in (*RESULT_FIELDS, own)}
