"""The models of an archive's nodes, out of the registry and back."""

from collections.abc import Mapping
from pathlib import Path

from siwatsystem.errors import ModelInvalid, SiwatError
from siwatsystem.model_registry import ModelRegistry, SharedEncoder, SharedModel
from siwatsystem.pipeline.spec import PipelineSpec


def load_models(
    spec: PipelineSpec, folder: Path, registry: ModelRegistry, owner: str
) -> dict[str, SharedModel]:
    """Every node's model by its `modelId`. Raises ModelError; nothing stays acquired then.

    In the registry a model goes by `owner/modelId`, because two archives may use the same ids.
    """
    models: dict[str, SharedModel] = {}
    try:
        for node in spec.pipeline.walk():
            models[node.model_id] = registry.acquire(f"{owner}/{node.model_id}", folder / node.model_file)
    except FileNotFoundError as error:
        release_models(models, registry, owner)
        raise ModelInvalid(f"a model file is missing: {Path(str(error.filename or error)).name}") from None
    except (SiwatError, OSError):
        release_models(models, registry, owner)
        raise
    return models


def release_models(models: Mapping[str, SharedModel], registry: ModelRegistry, owner: str) -> None:
    for model_id in models:
        registry.release(f"{owner}/{model_id}")


def load_encoders(
    spec: PipelineSpec, folder: Path, registry: ModelRegistry, owner: str
) -> dict[str, SharedEncoder]:
    """What tells objects apart by looks, by the `modelId` of the node that tracks so. Raises ModelError;
    nothing stays acquired then."""
    encoders: dict[str, SharedEncoder] = {}
    try:
        for node in spec.pipeline.walk():
            tracking = node.tracking
            if node.tracked and tracking is not None and tracking.asks_for_appearance:
                assert tracking.reid_model is not None  # checked when the archive was read
                name = f"{owner}/{node.model_id}/reid"
                encoders[node.model_id] = registry.acquire_encoder(name, folder / tracking.reid_model)
    except FileNotFoundError as error:
        release_encoders(encoders, registry, owner)
        raise ModelInvalid(f"an encoder is missing: {Path(str(error.filename or error)).name}") from None
    except (SiwatError, OSError):
        release_encoders(encoders, registry, owner)
        raise
    return encoders


def release_encoders(encoders: Mapping[str, SharedEncoder], registry: ModelRegistry, owner: str) -> None:
    for model_id, encoder in encoders.items():
        registry.release(f"{owner}/{model_id}/reid", encoder)
