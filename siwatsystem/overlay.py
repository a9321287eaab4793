"""Draws what was detected over a picture: boxes with labels and ids, zones, attributes, counters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from zlib import crc32

from siwatsystem.detections import Detection
from siwatsystem.frames import Crop, Image, clip_crop
from siwatsystem.pipeline.events import BranchResult, Event
from siwatsystem.pipeline.zones import Corner, stands_in

if TYPE_CHECKING:
    from siwatsystem.detections import Xyxy

Colour = tuple[int, int, int]
"""Blue-green-red."""

PALETTE: tuple[Colour, ...] = (
    (80, 175, 76),
    (243, 150, 33),
    (0, 152, 255),
    (99, 30, 233),
    (212, 188, 0),
    (60, 76, 231),
)
"""A class always has the same colour."""
FREE: Colour = (0, 200, 255)
TAKEN: Colour = (80, 220, 80)
"""Colours of a zone that nothing, or something, stands in."""
WHITE: Colour = (255, 255, 255)
DARK: Colour = (35, 30, 28)
PANEL_OPACITY = 0.72
ZONE_OPACITY = 0.16


def draw(image: Image, detections: Sequence[Detection], crop: Crop | None = None) -> Image:
    """A copy of `image` (H×W×3 BGR) with boxes and labels, cut to `crop`; boxes in full-frame pixels."""
    pen = _Pen(image.copy())
    for detection in detections:
        pen.box(detection, _label(detection))
    if crop is None:
        return pen.canvas
    x1, y1, x2, y2 = clip_crop(crop, image.shape[1], image.shape[0])
    return pen.canvas[y1:y2, x1:x2]


def annotate(
    image: Image,
    events: Sequence[Event],
    seen: Sequence[Detection] = (),
    zones: Sequence[Sequence[Corner]] = (),
    counters: Sequence[str] = (),
) -> Image:
    """A copy of `image` (H×W×3 BGR) with all that a pipeline made of it.

    Thick boxes are events, below them what the branches said; thin ones their parts, and what was
    `seen` and is no event. `zones` in pixels. `counters` are lines of a panel in the upper left.
    """
    pen = _Pen(image.copy())
    for zone in zones:
        pen.zone(zone, any(stands_in(one, zone) for one in seen))
    main = [event.detection for event in events]
    parts = [box for event in events for box in event.boxes]
    for box in dict.fromkeys((*seen, *parts)):
        if box.xyxy not in [one.xyxy for one in main]:
            pen.box(box, _label(box), thin=True)
    for event in events:
        pen.box(event.detection, _label(event.detection))
    for event in events:
        pen.note(event.xyxy, [_said(branch) for branch in event.branches.values()])
    if counters:
        pen.panel(counters)
    return pen.canvas


class _Pen:
    """Draws on one picture, in sizes that fit it."""

    def __init__(self, canvas: Image) -> None:
        import cv2

        self.canvas = canvas
        height, width = canvas.shape[:2]
        self._scale = max(min(width / 1280, height / 720), 0.45)
        self._font: Any = cv2.FontFace("sans")
        self._size = max(9, round(20 * self._scale))
        self._pad = max(2, round(5 * self._scale))

    def box(self, detection: Detection, label: str, thin: bool = False) -> None:
        import cv2

        colour = PALETTE[crc32(detection.class_name.encode()) % len(PALETTE)]
        x1, y1, x2, y2 = (round(edge) for edge in detection.xyxy)
        thickness = max(1, round((1.4 if thin else 3) * self._scale))
        cv2.rectangle(self.canvas, (x1, y1), (x2, y2), colour, thickness, cv2.LINE_AA)
        height = self._height(1)
        self._tag(
            x1 - thickness // 2, y1 - height if y1 >= height else y1, [label], colour, 0.8 if thin else 1
        )

    def zone(self, corners: Sequence[Corner], taken: bool) -> None:
        import cv2
        import numpy as np

        colour = TAKEN if taken else FREE
        polygon = np.array([[round(x), round(y)] for x, y in corners], np.int32)
        filled = self.canvas.copy()
        cv2.fillPoly(filled, [polygon], colour)
        cv2.addWeighted(filled, ZONE_OPACITY, self.canvas, 1 - ZONE_OPACITY, 0, self.canvas)
        cv2.polylines(self.canvas, [polygon], True, colour, max(1, round(2 * self._scale)), cv2.LINE_AA)

    def note(self, xyxy: "Xyxy", lines: Sequence[str]) -> None:
        """What is said of a box, below it, where it hides nothing of it."""
        if lines:
            self._tag(round(xyxy[0]), round(xyxy[3]) + self._pad, lines, DARK, PANEL_OPACITY)

    def panel(self, lines: Sequence[str]) -> None:
        self._tag(2 * self._pad, 2 * self._pad, lines, DARK, PANEL_OPACITY)

    def _height(self, lines: int) -> int:
        return lines * round(self._size * 1.25) + 2 * self._pad

    def _tag(self, x: int, y: int, lines: Sequence[str], colour: Colour, opacity: float) -> None:
        """Lines of text on a coloured field whose upper left corner is there, moved into the picture."""
        import cv2

        rows, columns = self.canvas.shape[:2]
        width = max(self._width(line) for line in lines) + 2 * self._pad
        height = self._height(len(lines))
        x, y = max(0, min(x, columns - width)), max(0, min(y, rows - height))
        field = self.canvas[y : y + height, x : x + width]
        field[:] = (field * (1 - opacity) + [part * opacity for part in colour]).astype("uint8")
        for number, line in enumerate(lines):
            base = y + self._pad + round(self._size * (1.25 * number + 0.98))
            cv2.putText(self.canvas, line, (x + self._pad, base), WHITE, self._font, self._size, 500)

    def _width(self, line: str) -> int:
        import cv2

        # Wide enough that nothing is wrapped.
        box = cv2.getTextSize((100_000, 100), line, (0, 50), self._font, self._size, 500)
        return int(box[2])


def _label(detection: Detection) -> str:
    track = "" if detection.tracker_id is None else f" #{detection.tracker_id}"
    return f"{detection.class_name}{track} {detection.confidence:.2f}"


def _said(branch: BranchResult) -> str:
    name = (branch.node.result_name or branch.node.model_id).replace("_", " ")
    if branch.vote is None:
        return f"{name}: {branch.class_name} {branch.confidence:.2f}"
    mark = " √" if branch.vote.settled else ""
    return f"{name}: {branch.class_name} {branch.vote.support:.0%} of {branch.vote.votes}{mark}"
