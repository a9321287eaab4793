"""Regions: the best box of each class on a picture, or per object of a class. Pure."""

from collections.abc import Mapping, Sequence

from siwatsystem.detections import Detection

Regions = Mapping[str, Detection]
"""The best box by class name."""


def best_per_class(detections: Sequence[Detection]) -> dict[str, Detection]:
    """The most confident box of each class."""
    best: dict[str, Detection] = {}
    for detection in detections:
        known = best.get(detection.class_name)
        if known is None or detection.confidence > known.confidence:
            best[detection.class_name] = detection
    return best


def by_object(
    detections: Sequence[Detection], object_class: str
) -> list[tuple[Detection, dict[str, Detection]]]:
    """Every object of `object_class` with its regions, most confident object first.

    A box of another class is a part of the object whose box contains its centre; where boxes
    overlap, of the one that fits best: that holds most of it, of such that hold as much the smallest.
    """
    objects = sorted(
        (box for box in detections if same_name(box.class_name, object_class)),
        key=lambda box: -box.confidence,
    )
    parts: list[list[Detection]] = [[] for _ in objects]
    for part in detections:
        if same_name(part.class_name, object_class):
            continue
        holders = [index for index, box in enumerate(objects) if holds_centre(box, part)]
        if holders:
            parts[min(holders, key=lambda index: _misfit(part, objects[index]))].append(part)
    return [
        (box, {box.class_name: box, **best_per_class(own)}) for box, own in zip(objects, parts, strict=True)
    ]


def doubtful(thing: Detection, regions: Regions, boxes: Sequence[Detection]) -> list[Detection]:
    """Regions of `thing` whose centre lies in another object of its class too: theirs, or half hidden."""
    others = [box for box in boxes if box is not thing and same_name(box.class_name, thing.class_name)]
    return [
        part
        for part in regions.values()
        if part is not thing and any(holds_centre(other, part) for other in others)
    ]


def find(regions: Regions, class_name: str) -> Detection | None:
    """The region of that class: the exact name first, else ignoring case."""
    exact = regions.get(class_name)
    if exact is not None:
        return exact
    return next((box for name, box in regions.items() if same_name(name, class_name)), None)


def same_name(one: str, other: str) -> bool:
    return one == other or one.casefold() == other.casefold()


def in_reading_order(characters: Sequence[Detection]) -> str:
    """Class names of character boxes joined: rows from top to bottom, each from left to right.

    A box belongs to the row whose first box spans its vertical centre.
    """
    rows: list[list[Detection]] = []
    for box in sorted(characters, key=lambda box: box.xyxy[1] + box.xyxy[3]):
        middle = (box.xyxy[1] + box.xyxy[3]) / 2
        row = next((row for row in rows if row[0].xyxy[1] <= middle <= row[0].xyxy[3]), None)
        if row is None:
            rows.append([box])
        else:
            row.append(box)
    ordered = (box for row in rows for box in sorted(row, key=lambda box: box.xyxy[0]))
    return "".join(box.class_name for box in ordered)


def holds_centre(box: Detection, part: Detection) -> bool:
    """Whether the centre of `part` lies in `box`."""
    x = (part.xyxy[0] + part.xyxy[2]) / 2
    y = (part.xyxy[1] + part.xyxy[3]) / 2
    return box.xyxy[0] <= x <= box.xyxy[2] and box.xyxy[1] <= y <= box.xyxy[3]


def area(box: Detection) -> float:
    """In square pixels."""
    return max(0.0, box.xyxy[2] - box.xyxy[0]) * max(0.0, box.xyxy[3] - box.xyxy[1])


def shared(part: Detection, whole: Detection) -> float:
    """Share of `part` that lies in `whole`, 0-1."""
    width = min(part.xyxy[2], whole.xyxy[2]) - max(part.xyxy[0], whole.xyxy[0])
    height = min(part.xyxy[3], whole.xyxy[3]) - max(part.xyxy[1], whole.xyxy[1])
    return max(0.0, width) * max(0.0, height) / max(area(part), 1e-9)


def _misfit(part: Detection, whole: Detection) -> tuple[float, float]:
    """Less where `part` fits better. Edges are uncertain: tenths of a box are no difference."""
    return -round(shared(part, whole), 1), area(whole)
