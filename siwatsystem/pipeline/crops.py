"""Parts of a picture that nodes look at and actions save."""

from siwatsystem.detections import Detection
from siwatsystem.frames import Crop, Size
from siwatsystem.pipeline.node import Node
from siwatsystem.views import View

Box = Crop
"""x1, y1, x2, y2 in whole pixels of the picture."""


def crop_box(region: Detection, size: Size) -> Box | None:
    """The region's pixels, clipped to a picture of that height and width; None where nothing is left."""
    height, width = size
    x1, y1 = max(0, int(region.xyxy[0])), max(0, int(region.xyxy[1]))
    x2, y2 = min(width, int(region.xyxy[2])), min(height, int(region.xyxy[3]))
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def crop_of(view: View, box: Box | None, node: Node) -> View:
    """What a node's model is given: the part inside `box`, stretched to `resizeTarget`."""
    part = view if box is None else view.part(box)
    if node.resize_target is None:
        return part
    width, height = node.resize_target
    return part.stretched((height, width))


def looks_of(view: View, box: Detection) -> View:
    """The box's pixels; the nearest pixel where it lies outside."""
    height, width = view.shape
    x1, y1 = min(max(0, int(box.xyxy[0])), width - 1), min(max(0, int(box.xyxy[1])), height - 1)
    return view.part((x1, y1, max(x1 + 1, int(box.xyxy[2])), max(y1 + 1, int(box.xyxy[3]))))
