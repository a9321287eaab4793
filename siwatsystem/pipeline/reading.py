"""What a node's model said of its part of the picture: a result, and regions for the nodes below."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from siwatsystem.detections import Classification, Detection, Prediction
from siwatsystem.pipeline.crops import Box
from siwatsystem.pipeline.events import BranchResult
from siwatsystem.pipeline.following import Seen
from siwatsystem.pipeline.regions import Regions, best_per_class, find, in_reading_order, same_name
from siwatsystem.pipeline.spec import Node


@dataclass(frozen=True, slots=True)
class Reading:
    """What a branch's model said, as its result and as regions for the branches below it. Without a
    result nothing below runs."""

    result: BranchResult | None = None
    regions: Regions = field(default_factory=dict[str, Detection])
    seen: Seen | None = None
    why: str = ""
    """Why there is no result."""
    classified: bool = False

    def of_class(self, class_name: str) -> Regions:
        """The regions, where a classification has been voted to be `class_name`."""
        if not self.classified:
            return self.regions
        [box] = self.regions.values()
        return {class_name: replace(box, class_name=class_name)}


def trigger_of(branch: Node, regions: Regions) -> Detection | None:
    """The region that a branch runs on; None where nothing triggers it or its crop is not there."""
    triggering = [
        region
        for name in branch.trigger_classes
        if (region := find(regions, name)) is not None and region.confidence >= branch.min_confidence
    ]
    if not triggering:
        return None
    if branch.crop and branch.crop_class is not None:
        return find(regions, branch.crop_class)
    return max(triggering, key=lambda region: region.confidence)


def kept(node: Node, detections: Sequence[Detection], names: Mapping[int, str]) -> tuple[Detection, ...]:
    """A node's own boxes: confident enough, and of its trigger classes where its model has such."""
    return tuple(
        box for box in of_its_classes(node, detections, names) if box.confidence >= node.min_confidence
    )


def of_its_classes(
    node: Node, detections: Sequence[Detection], names: Mapping[int, str]
) -> tuple[Detection, ...]:
    """Boxes of the node's trigger classes where its model has such; else all."""
    wanted = [name for name in node.trigger_classes if any(same_name(name, own) for own in names.values())]
    return tuple(
        box for box in detections if not wanted or any(same_name(name, box.class_name) for name in wanted)
    )


def read(
    branch: Node,
    region: Detection,
    box: Box | None,
    said: Prediction,
    names: Mapping[int, str],
    follow: Callable[[Sequence[Detection]], Seen] | None = None,
) -> Reading:
    """What a branch's model said of the part inside `box` (None: of the whole picture)."""
    least = branch.min_result_confidence or 0.0
    if isinstance(said, Classification):
        if said.confidence < least:
            return Reading(why=f"{said.class_name} {said.confidence:.2f} is below minResultConfidence")
        seen = replace(region, class_name=said.class_name, confidence=said.confidence)
        result = BranchResult(branch, said.class_name, said.confidence, seen.tracker_id)
        return Reading(result, {said.class_name: seen}, classified=True)
    in_picture = _to_picture(branch, box, said)
    found: Seen | None = None
    if follow is None:
        boxes = kept(branch, in_picture, names)
    else:
        found = follow(of_its_classes(branch, in_picture, names))
        boxes = found.of_interest
    regions = best_per_class(boxes)
    if not boxes or not expected(branch, regions):
        return Reading(why="nothing of interest there")
    best = max(boxes, key=lambda one: one.confidence)
    if best.confidence < least:
        return Reading(why=f"{best.class_name} {best.confidence:.2f} is below minResultConfidence")
    name = in_reading_order(boxes) if branch.read_text else best.class_name
    return Reading(BranchResult(branch, name, best.confidence, best.tracker_id, boxes), regions, found)


def _to_picture(branch: Node, box: Box | None, boxes: Sequence[Detection]) -> list[Detection]:
    if box is None:
        return list(boxes)
    x1, y1, x2, y2 = box
    width, height = branch.resize_target or (x2 - x1, y2 - y1)
    return [one.shifted(x1, y1, (x2 - x1) / width, (y2 - y1) / height) for one in boxes]


def expected(node: Node, regions: Regions) -> bool:
    """Whether at least one expected class is there, where a node expects any."""
    if not (node.multi_class and node.expected_classes):
        return True
    return any(find(regions, name) is not None for name in node.expected_classes)
