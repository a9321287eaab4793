"""Whether a Ray cluster has room for an app. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from siwatsystem.deepstream.admission import Refused
from siwatsystem.deepstream.apps import Spec


@dataclass(frozen=True, slots=True)
class Node:
    """A node that lives: what it has, and what of it is free."""

    host: str
    gpus: float
    cpus: float
    free_gpus: float
    free_cpus: float


def never(spec: Spec, nodes: Sequence[Node], cpus: float, slots_per_gpu: int) -> Refused | None:
    """Why no node can ever have it, however free it is. An app is on one node."""
    gpus = len(spec.gpu_allocated)
    slots = spec.streams_count or 1
    if gpus and slots > gpus * slots_per_gpu:
        return Refused(422, f"{slots} slots are more than {gpus} GPUs take ({slots_per_gpu} each)")
    most = max((node.gpus for node in nodes), default=0.0)
    if gpus > most:
        return Refused(422, f"no node has {gpus} GPUs (the largest has {most:g})")
    if not any(node.gpus >= gpus and node.cpus >= cpus for node in nodes):
        return Refused(422, f"no node has {gpus} GPUs and {cpus:g} CPU cores (control.ray_cpus)")
    return None


def room(spec: Spec, nodes: Sequence[Node], cpus: float, slots_per_gpu: int) -> Refused | None:
    """422 for what no node ever has, 503 for what is used up now."""
    refused = never(spec, nodes, cpus, slots_per_gpu)
    if refused is not None:
        return refused
    gpus = len(spec.gpu_allocated)
    if any(node.free_gpus >= gpus and node.free_cpus >= cpus for node in nodes):
        return None
    free = max(node.free_gpus for node in nodes)
    return Refused(503, f"no node has {gpus} GPUs and {cpus:g} CPU cores free (at most {free:g} GPUs)")
