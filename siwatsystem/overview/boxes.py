"""What was seen on a picture, for whoever draws it: a box each, in pixels of what the pipeline saw. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from siwatsystem.detections import Detection
from siwatsystem.pipeline.events import Event

MOST = 100
"""Boxes of one picture."""
SUFFIXES = ("Confidence", "Support")
"""Of attributes that say how sure another one is."""


def boxes_of(events: Sequence[Event], seen: Iterable[Detection]) -> list[dict[str, Any]]:
    """`{class, confidence, track, box, event, words}` of each: events first, then what was seen besides,
    and the parts of both. `event`: whether it is one; `words`: what the branches said of it."""
    of = {event.xyxy: event for event in events}
    parts = (box for event in events for box in event.boxes)
    boxes: dict[Any, Detection] = {}
    for box in (*(event.detection for event in events), *seen, *parts):
        boxes.setdefault(box.xyxy, box)
    return [
        {
            "class": box.class_name,
            "confidence": round(box.confidence, 2),
            "track": box.tracker_id,
            "box": [round(edge, 1) for edge in box.xyxy],
            "event": box.xyxy in of,
            "words": words_of(of[box.xyxy]) if box.xyxy in of else (),
        }
        for box in list(boxes.values())[:MOST]
    ]


def words_of(event: Event) -> tuple[str, ...]:
    """What the branches said, without how sure they were."""
    return tuple(str(value) for name, value in event.attributes.items() if not name.endswith(SUFFIXES))
