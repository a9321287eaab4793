"""What an archive is, as data: its nodes and models, what its actions will write, what lies along."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from siwatsystem import archive
from siwatsystem.actions.brokers import kafka_target, mqtt_target
from siwatsystem.actions.receivers import webhook_target
from siwatsystem.actions.spec import (
    ActionModel,
    KafkaPublish,
    MqttPublish,
    Publish,
    SaveImage,
    UpdateCombined,
    Webhook,
)
from siwatsystem.actions.targets import postgresql_target, redis_target
from siwatsystem.pipeline.node import Node, PipelineSpec
from siwatsystem.pipeline.tracking import Tracking
from siwatsystem.runtime.digest import digest, model_files
from siwatsystem.runtime.metadata import Metadata
from siwatsystem.validation import Examination

INITIAL_RECORD: dict[str, object] = {
    "display_id": "{display_id}",
    "captured_timestamp": "{timestamp}",
    "session_id": "{session_id}",
}
"""Columns of the row that is made without an action, and what they are filled with."""
RECORD_TABLE = "car_frontal_info"


@dataclass(frozen=True, slots=True)
class Model:
    """A model file: bytes, SHA-256 in hexadecimal, task, classes, input as (height, width).

    `trouble` says why it cannot be loaded; what is not known is None or empty then.
    """

    file: str
    size: int | None = None
    sha256: str | None = None
    task: str | None = None
    classes: tuple[str, ...] = ()
    input_size: tuple[int, int] | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """What an action will write, and where: templates as they stand in pipeline.json.

    `kind` is the action's type, or `initial_record` for the row that is made without an action.
    `values` are the columns of a record.
    """

    kind: str
    server: str
    to: str
    values: dict[str, object] = field(default_factory=dict[str, object])
    detail: str = ""
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A node: what makes it run, its model, what it gives, and what is below it."""

    model_id: str
    runs: str
    gives: str
    model: Model
    tracking: str | None
    writes: tuple[Write, ...]
    branches: tuple["Part", ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """An archive. `root` is None where pipeline.json is wrong; `others` are files that no node names.

    `servers` names them by kind, without any password.
    """

    source: str
    size: int | None
    sha256: str | None
    signature: str | None
    servers: dict[str, str]
    root: Part | None
    others: tuple[archive.Entry, ...]
    left_out: tuple[str, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def inspect(found: Examination) -> Inspection:
    """What was examined, while its files are there. Raises OSError where one cannot be read."""
    spec, source = found.spec, found.source
    single = source.is_file()
    return Inspection(
        source=str(source),
        size=source.stat().st_size if single else None,
        sha256=digest(source) if single else None,
        signature=found.signature,
        servers={} if spec is None else _servers(spec),
        root=None if spec is None else _part(found, spec, spec.pipeline, None),
        others=tuple(entry for entry in found.entries if not _is_named(entry.name, spec)),
        left_out=found.left_out,
        problems=tuple(str(problem) for problem in found.problems),
        warnings=tuple(found.warnings),
    )


def _servers(spec: PipelineSpec) -> dict[str, str]:
    places: dict[str, str] = {}
    if spec.redis is not None:
        number = "" if spec.redis == "embedded" else f", database {spec.redis.db}"
        places["redis"] = redis_target(spec.redis).place + number
    if spec.postgresql is not None:
        server = spec.postgresql
        base = "" if server == "embedded" else f", database {server.database} as {server.username}"
        places["postgresql"] = postgresql_target(server).place + base
    if spec.mqtt is not None:
        places["mqtt"] = mqtt_target(spec.mqtt).place
    if spec.kafka is not None:
        places["kafka"] = kafka_target(spec.kafka).place
    return places


def _is_named(name: str, spec: PipelineSpec | None) -> bool:
    files = [] if spec is None else spec.files
    return name in (archive.PIPELINE, archive.SIGNATURE) or any(
        name == file or name.startswith(f"{file}/") for file in files
    )


def _part(found: Examination, spec: PipelineSpec, node: Node, parent: Node | None) -> Part:
    tracking = node.tracking if node.tracked else None
    return Part(
        model_id=node.model_id,
        runs=_runs(node, parent),
        gives=_gives(node),
        model=_model(found, node.model_file),
        tracking=None if tracking is None else _tracking(tracking),
        writes=tuple(_writes(spec, node, parent is None)),
        branches=tuple(_part(found, spec, branch, node) for branch in node.branches),
    )


def _model(found: Examination, file: str) -> Model:
    if found.folder is None:
        return Model(file, trouble="the archive was not unpacked")
    path = found.folder / file
    facts = found.models.get(file)
    size = sum(one.stat().st_size for one in model_files(path))
    if not isinstance(facts, Metadata):
        return Model(file, size, digest(path), trouble=facts)
    classes = tuple(facts.names.values())
    return Model(file, size, digest(path), facts.task, classes, facts.input_size)


def _runs(node: Node, parent: Node | None) -> str:
    wanted = " or ".join(node.trigger_classes) or "nothing"
    if parent is None:
        return f"on the whole picture, for {wanted} from {node.min_confidence:g}"
    beside = ", beside its parallel siblings" if node.parallel else ""
    if not node.crop:
        return f"on the whole picture, when {wanted} is there from {node.min_confidence:g}{beside}"
    part = node.crop_class or "what triggered it"
    size = "" if node.resize_target is None else " stretched to {}×{}".format(*node.resize_target)
    return f"on the crop of {part}{size}, when {wanted} is there from {node.min_confidence:g}{beside}"


def _gives(node: Node) -> str:
    parts: list[str] = []
    if node.result_name not in (None, "class"):
        parts.append(f"{{{node.model_id}.{node.result_name}}}")
    if node.attribute_name is not None:
        parts.append(f"{node.attribute_name} to the backend")
    if node.object_class is not None:
        parts.append(f"one event per {node.object_class}")
    if node.multi_class and node.expected_classes:
        parts.append(f"nothing without {' or '.join(node.expected_classes)}")
    if node.read_text:
        parts.append("text of its boxes")
    if node.min_result_confidence is not None:
        parts.append(f"results from {node.min_result_confidence:g}")
    return ", ".join(parts)


def _tracking(tracking: Tracking) -> str:
    parts: list[str] = [tracking.method]
    if tracking.reid_model is not None:
        parts.append(f"looks compared by {tracking.reid_model}")
    if tracking.zone is not None:
        unit = "fractions" if all(x <= 1 and y <= 1 for x, y in tracking.zone) else "pixels"
        parts.append(f"zone of {len(tracking.zone)} corners in {unit}")
    if tracking.stability_threshold:
        parts.append(f"stable after {tracking.stability_threshold} frames")
    if tracking.max_jump is not None:
        parts.append(f"jumps up to {tracking.max_jump:g} pixels")
    parts.append("acts once per id" if tracking.acts_once else "acts on every frame")
    return ", ".join(parts)


def _writes(spec: PipelineSpec, node: Node, is_root: bool) -> Iterator[Write]:
    if is_root and node.multi_class and node.expected_classes and spec.postgresql is not None:
        values = dict(INITIAL_RECORD)
        needed = f"when {' and '.join(node.expected_classes)} are there; a row that is there already stays"
        yield Write("initial_record", "postgresql", _table(spec, RECORD_TABLE), values, needed)
    yield from (_write(spec, action) for action in node.actions)
    yield from (_write(spec, action) for action in node.parallel_actions)


def _write(spec: PipelineSpec, action: ActionModel) -> Write:
    if isinstance(action, SaveImage):
        part = action.region or "the whole picture"
        kept = "for ever" if action.expire_seconds is None else f"for {action.expire_seconds:g} s"
        form = action.format if action.format == "png" else f"jpeg of quality {action.quality}"
        return Write(action.type, "redis", action.key, detail=f"{part} as {form}, kept {kept}")
    if isinstance(action, Publish):
        return Write(action.type, "redis", action.channel, detail=action.message)
    if isinstance(action, MqttPublish):
        kept = "kept for later subscribers: " if action.retain else ""
        return Write(action.type, "mqtt", action.topic, detail=kept + action.message)
    if isinstance(action, KafkaPublish):
        key = "" if action.key is None else f"by the key {action.key}: "
        return Write(action.type, "kafka", action.topic, detail=key + action.message)
    if isinstance(action, Webhook):
        # The path of its address may be a secret.
        place = webhook_target(action.url, action.secret, action.signed).place
        return Write(action.type, "webhook", place.removeprefix("webhook at "), detail=action.message)
    assert isinstance(action, UpdateCombined)
    key = f"where {action.key_field} is {action.key_value}"
    return Write(
        action.type,
        "postgresql",
        _table(spec, action.table),
        dict(action.fields),
        key,
        action.wait_for_branches,
    )


def _table(spec: PipelineSpec, table: str) -> str:
    server = spec.postgresql
    schema = "gas_station_1" if server is None or server == "embedded" else server.schema_name
    return table if "." in table else f"{schema}.{table}"
