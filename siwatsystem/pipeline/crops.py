"""Parts of a picture that nodes look at and actions save."""

import numpy as np

from siwatsystem.detections import Detection
from siwatsystem.frames import Image
from siwatsystem.pipeline.node import Node

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels of the picture."""


def crop_box(region: Detection, image: Image) -> Box | None:
    """The region's pixels, clipped to the picture; None where nothing is left."""
    height, width = image.shape[:2]
    x1, y1 = max(0, int(region.xyxy[0])), max(0, int(region.xyxy[1]))
    x2, y2 = min(width, int(region.xyxy[2])), min(height, int(region.xyxy[3]))
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def crop_of(image: Image, box: Box | None, node: Node) -> Image:
    """What a node's model is given: the part inside `box`, stretched to `resizeTarget`."""
    part = image if box is None else image[box[1] : box[3], box[0] : box[2]]
    if node.resize_target is None:
        return part
    import cv2

    return np.asarray(cv2.resize(part, node.resize_target), np.uint8)


def looks_of(image: Image, box: Detection) -> Image:
    """The box's pixels; the nearest pixel where it lies outside."""
    height, width = image.shape[:2]
    x1, y1 = min(max(0, int(box.xyxy[0])), width - 1), min(max(0, int(box.xyxy[1])), height - 1)
    x2, y2 = max(x1 + 1, int(box.xyxy[2])), max(y1 + 1, int(box.xyxy[3]))
    return image[y1:y2, x1:x2]
