"""Small pictures for the dashboard: no more pixels than are shown, encoded once however many look."""

from functools import partial

from siwatsystem.detections import Xyxy
from siwatsystem.frames import Crop, Frame, Image, encode_jpeg
from siwatsystem.overview.jpegs import guarded, jpeg_once
from siwatsystem.views import View

WIDTHS = (320, 640, 1280)
"""Of the pictures, in pixels; few, so that those who look share them."""
QUALITY = 78
THUMB = 160
"""Longest side of a picture of what was seen, in pixels."""
MARGIN = 0.08
"""Of the object's size, around it."""


async def still(frame: Frame, crop: Crop | None, width: int) -> bytes:
    """The crop's part of the frame as JPEG, at most about `width` pixels wide. Raises ValueError for a
    picture that cannot be encoded."""
    width = next((one for one in WIDTHS if one >= width), WIDTHS[-1])
    return await jpeg_once(frame, ("still", crop, width), partial(_still, frame, crop, width))


def thumb(frame: Frame, crop: Crop | None, box: Xyxy) -> bytes:
    """An object with a little around it; `box` in pixels of the crop. Blocks. Raises ValueError."""
    return guarded(partial(_thumb, frame, crop, box))


def _still(frame: Frame, crop: Crop | None, width: int) -> bytes:
    view = View(frame, crop)
    return encode_jpeg(_brought(view, min(1.0, width / view.shape[1])), QUALITY)


def _thumb(frame: Frame, crop: Crop | None, box: Xyxy) -> bytes:
    x1, y1, x2, y2 = box
    dx, dy = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
    part = View(frame, crop).part((round(x1 - dx), round(y1 - dy), round(x2 + dx), round(y2 + dy)))
    return encode_jpeg(_brought(part, min(1.0, THUMB / max(part.shape))), QUALITY)


def _brought(view: View, scale: float) -> Image:
    """Sampled at twice the size, then averaged: sampling alone leaves out pixels, and edges flicker."""
    import cv2

    height, width = view.shape
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if scale >= 0.75:
        return view.sampled((size[1], size[0]))
    twice = min(width, 2 * size[0]), min(height, 2 * size[1])
    found: Image = cv2.resize(view.sampled((twice[1], twice[0])), size, interpolation=cv2.INTER_AREA)  # pyright: ignore[reportAssignmentType]
    return found
