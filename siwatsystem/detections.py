"""What was seen on a frame: boxes of a detector, labels of a classifier."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Xyxy = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the picture that was looked at."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One box: its class, confidence 0–1, corners, and the id of its track where something tracks."""

    class_name: str
    confidence: float
    xyxy: Xyxy
    tracker_id: int | None = None

    @property
    def bottom_centre(self) -> tuple[float, float]:
        return (self.xyxy[0] + self.xyxy[2]) / 2, self.xyxy[3]

    def shifted(self, dx: float, dy: float, sx: float = 1.0, sy: float = 1.0) -> "Detection":
        """The same box in the coordinates of the picture that a crop was cut (and scaled) from."""
        x1, y1, x2, y2 = self.xyxy
        box = (x1 * sx + dx, y1 * sy + dy, x2 * sx + dx, y2 * sy + dy)
        return Detection(self.class_name, self.confidence, box, self.tracker_id)


@dataclass(frozen=True, slots=True)
class Classification:
    """The most likely class of a picture, its probability, and that of every class by name."""

    class_name: str
    confidence: float
    probabilities: Mapping[str, float] = field(default_factory=dict[str, float])


Prediction = tuple[Detection, ...] | Classification
"""What a model says of one picture: boxes, most confident first, or a classification."""


def iou(a: Xyxy, b: Xyxy) -> float:
    """Intersection over union of two boxes, 0–1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inside = width * height
    return inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside)
