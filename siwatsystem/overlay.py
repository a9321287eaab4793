"""Draws what was detected over a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from zlib import crc32

from siwatsystem.detections import Detection
from siwatsystem.frames import Crop, Image, clip_crop

if TYPE_CHECKING:
    from siwatsystem.detections import Xyxy

PALETTE = ((80, 175, 76), (243, 150, 33), (0, 152, 255), (99, 30, 233), (212, 188, 0), (60, 76, 231))
"""Colours, blue-green-red; a class always has the same one."""


def draw(image: Image, detections: Sequence[Detection], crop: Crop | None = None) -> Image:
    """A copy of `image` (H×W×3 BGR) with boxes and labels, cut to `crop`; boxes in full-frame pixels."""
    canvas = image.copy()
    scale = max(image.shape[1] / 1280, 0.4)
    for detection in detections:
        _box(
            canvas,
            detection.xyxy,
            _label(detection),
            PALETTE[crc32(detection.class_name.encode()) % 6],
            scale,
        )
    if crop is None:
        return canvas
    x1, y1, x2, y2 = clip_crop(crop, image.shape[1], image.shape[0])
    return canvas[y1:y2, x1:x2]


def _label(detection: Detection) -> str:
    track = "" if detection.tracker_id is None else f" #{detection.tracker_id}"
    return f"{detection.class_name}{track} {detection.confidence:.2f}"


def _box(canvas: Image, xyxy: "Xyxy", label: str, colour: tuple[int, int, int], scale: float) -> None:
    import cv2

    x1, y1, x2, y2 = (round(edge) for edge in xyxy)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, max(2, round(3 * scale)), cv2.LINE_AA)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.7 * scale
    # OpenCV's fonts know ASCII only; what they lack would be drawn as question marks anyway.
    text = label.encode("ascii", "replace").decode()
    (width, height), base = cv2.getTextSize(text, font, size, max(1, round(2 * scale)))
    top = y1 - height - base - 4 if y1 - height - base - 4 >= 0 else y1
    cv2.rectangle(canvas, (x1, top), (x1 + width + 8, top + height + base + 4), colour, -1)
    place = (x1 + 4, top + height + 2)
    cv2.putText(canvas, text, place, font, size, (255, 255, 255), max(1, round(2 * scale)), cv2.LINE_AA)
