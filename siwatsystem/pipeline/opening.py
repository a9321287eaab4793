"""From an archive's folder to a pipeline that runs: spec, models, servers, gate."""

import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from siwatsystem import archive
from siwatsystem.actions.brokers import kafka_target, mqtt_target
from siwatsystem.actions.receivers import webhook_target
from siwatsystem.actions.targets import Target, postgresql_target, redis_target
from siwatsystem.archive import BARE_SUFFIXES, PIPELINE, TESTS
from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelInvalid
from siwatsystem.metrics import NODE_TIMES
from siwatsystem.model_registry import ModelRegistry, SharedModel
from siwatsystem.pipeline.class_checks import check_classes, check_tasks, class_warnings
from siwatsystem.pipeline.executor import Pipeline, Sink
from siwatsystem.pipeline.gating import Gate
from siwatsystem.pipeline.models import load_encoders, load_models, release_encoders, release_models
from siwatsystem.pipeline.node import PipelineSpec
from siwatsystem.pipeline.problems import PipelineInvalid
from siwatsystem.pipeline.spec import bare_model, parse
from siwatsystem.pipeline.warnings import warnings_of

log = logging.getLogger(__name__)

LAST_RUN_SEC = 3.0
"""Longest wait for a picture under way when a pipeline is closed."""


class Outbox(Sink, Protocol):
    """Where actions go; knows their servers."""

    def register(self, target: Target) -> str:
        """Make a server known; returns the key that jobs name it by."""
        ...

    def release(self, key: str) -> None:
        """Once for each `register`: nothing is submitted for that server any more."""
        ...


class OpenPipeline:
    """A pipeline and what it holds; `close` gives all of it back."""

    def __init__(self, pipeline: Pipeline, gate: Gate | None, held: ExitStack, named: ExitStack) -> None:
        """`held` gives models and encoders back, `named` tells the outbox that its servers are not used."""
        self.pipeline = pipeline
        self._gate = gate
        self._held = held
        self._named = named

    def close(self) -> None:
        """Give everything back, once the pictures under way are done: they still use the models."""
        self.pipeline.on_picture = None
        if not self.pipeline.wait_idle(LAST_RUN_SEC):
            log.warning("%s: closed with a picture under way", self.pipeline.spec.pipeline.model_id)
        if self._gate is not None:
            self._gate.close()
        self._held.close()
        # The actions of a picture that is still under way must find their servers.
        self.pipeline.once_idle(self._named.pop_all().close)


def open_pipeline(
    folder: Path,
    registry: ModelRegistry,
    outbox: Outbox,
    threads: Executor,
    settings: RuntimeSettings,
) -> OpenPipeline:
    """The pipeline in `folder` (pipeline.json, or a bare model file). Blocks while models load.

    Raises ModelInvalid, ModelRefused.
    """
    owner = str(folder)
    spec = read_spec(folder, registry)
    for warning in warnings_of(spec):
        log.warning("%s: %s", spec.pipeline.model_id, warning)
    with ExitStack() as held, ExitStack() as named:
        models = load_models(spec, folder, registry, owner)
        held.callback(release_models, models, registry, owner)
        _check_models(spec, models)
        for model_id in models:
            NODE_TIMES.hold(model_id)
            held.callback(NODE_TIMES.release, model_id)
        encoders = load_encoders(spec, folder, registry, owner)
        held.callback(release_encoders, encoders, registry, owner)
        targets = register_targets(spec, outbox, named)
        pipeline = Pipeline(spec, models, outbox, targets, threads, encoders=encoders)
        gate = _gate(pipeline, folder, settings)
        return OpenPipeline(pipeline, gate, held.pop_all(), named.pop_all())


def _check_models(spec: PipelineSpec, models: Mapping[str, SharedModel]) -> None:
    """Hold what pipeline.json asks against what the models can. Raises PipelineInvalid."""
    names = {model_id: list(model.names.values()) for model_id, model in models.items()}
    tasks = {model_id: str(model.task) for model_id, model in models.items()}
    problems = check_classes(spec, names) + check_tasks(spec, tasks)
    if problems:
        raise PipelineInvalid(problems)
    for warning in class_warnings(spec, names):
        log.warning("%s: %s", spec.pipeline.model_id, warning)


def read_spec(folder: Path, registry: ModelRegistry) -> PipelineSpec:
    """What pipeline.json says; for a bare model file, one node with all its classes."""
    if not (folder / PIPELINE).exists():
        return _bare(folder, registry)
    data = archive.read_pipeline(folder)
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    folders = {parent for name in files for parent in _parents(name)}  # OpenVINO models are folders
    return parse(data, [*files, *folders])


def register_targets(spec: PipelineSpec, outbox: Outbox, named: ExitStack) -> dict[str, str]:
    """Make the archive's servers known, until `named` is closed; the outbox's key by `redis`, `postgresql`,
    `mqtt` and `kafka`."""

    def register(target: Target) -> str:
        key = outbox.register(target)
        named.callback(outbox.release, key)
        return key

    targets: dict[str, str] = {}
    if spec.redis is not None:
        targets["redis"] = register(redis_target(spec.redis))
    if spec.postgresql is not None:
        targets["postgresql"] = register(postgresql_target(spec.postgresql))
    if spec.mqtt is not None:
        targets["mqtt"] = register(mqtt_target(spec.mqtt))
    if spec.kafka is not None:
        targets["kafka"] = register(kafka_target(spec.kafka))
    for webhook in spec.webhooks:
        register(webhook_target(webhook.url, webhook.secret, webhook.signed))
    return targets


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _bare(folder: Path, registry: ModelRegistry) -> PipelineSpec:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in BARE_SUFFIXES)
    if not found:
        raise ModelInvalid(f"no {PIPELINE} and no model file")
    model = registry.acquire(str(folder), found[0])
    try:
        return bare_model(found[0].name, list(model.names.values()), tracked=model.task == "detect")
    finally:
        registry.release(str(folder))


def _gate(pipeline: Pipeline, folder: Path, settings: RuntimeSettings) -> Gate | None:
    """Whether and how the archive comes to run fast."""
    if settings.precision == "exact":
        pipeline.precision_reason = "set to exact"
        return None
    if not all(model.fast_available for model in pipeline.models.values()):
        pipeline.precision_reason = "this machine has nothing faster for these models"
        return None
    gate = Gate(pipeline, settings.gate_pictures)
    gate.use_tests(folder / TESTS)
    pipeline.on_picture = gate.offer
    return gate
