"""Whether there is room for one more app. Pure: asked before anything is launched."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from siwatsystem.deepstream.apps import Spec


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the machine or the cluster has. `gpus`: slots by GPU number; None: GPUs are not checked here."""

    max_apps: int = 64
    max_slots: int = 1024
    gpus: Mapping[int, int] | None = field(default=None)


@dataclass(frozen=True, slots=True)
class Refused:
    """`status`: 422 for what there never is, 503 for what is used up now."""

    status: int
    reason: str


def admit(wanted: Spec, live: Iterable[Spec], capacity: Capacity) -> Refused | None:
    """None where `wanted` may be launched beside those that live; one of unknown size counts as one slot."""
    specs = list(live)
    slots = _slots(wanted)
    if capacity.gpus is not None:
        for gpu in wanted.gpu_allocated:
            if gpu not in capacity.gpus:
                there = ", ".join(map(str, sorted(capacity.gpus))) or "none"
                return Refused(422, f"there is no GPU {gpu} (there: {there})")
    if len(specs) >= capacity.max_apps:
        return Refused(503, f"{capacity.max_apps} apps live, as many as there may be")
    used = sum(map(_slots, specs))
    if used + slots > capacity.max_slots:
        return Refused(503, f"{used} of {capacity.max_slots} slots are taken, {slots} more are too many")
    if capacity.gpus is None:
        return None
    on: Counter[int] = Counter()
    for spec in specs:
        for gpu in spec.gpu_allocated:
            on[gpu] += _slots(spec)
    for gpu in wanted.gpu_allocated:
        room = capacity.gpus[gpu]
        if on[gpu] + slots > room:
            return Refused(
                503, f"{on[gpu]} of {room} slots of GPU {gpu} are taken, {slots} more are too many"
            )
    return None


def _slots(spec: Spec) -> int:
    return spec.streams_count or 1
