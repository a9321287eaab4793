"""Every parser that is played with."""

from tests.fuzz import archives, control, documents, models, texts, wire
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for room in (wire, control, archives, documents, texts, models)
    for target in room.TARGETS
}
