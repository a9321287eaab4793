"""What a tracker remembers of one object."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from siwatsystem.detections import Detection, Xyxy
from siwatsystem.pipeline.motion import Motion

LOOKS_KEPT = 0.9
"""Weight of what was known in the running mean of looks (BoT-SORT: 0.9)."""


@dataclass(eq=False, slots=True)
class Tracklet:
    """One object followed over frames."""

    number: int
    motion: Motion
    frame: int
    """Number of the frame on which it was last seen."""
    at: float
    """When that was, on the tracker's clock in seconds."""
    box: Detection
    """What was seen of it there."""
    needed: int
    """Sightings from which it is believed."""
    sightings: int = 1
    confirmed: bool = False
    looks: NDArray[np.float32] | None = None
    """Running mean of how it looks, of unit length."""
    looked: float = 0.0
    """When its looks were last taken."""
    classes: dict[str, float] = field(default_factory=dict[str, float])
    """Confidence summed by class."""

    def copy(self) -> "Tracklet":
        """The same object, followed apart from here on."""
        return Tracklet(
            self.number,
            self.motion.copy(),
            self.frame,
            self.at,
            self.box,
            self.needed,
            self.sightings,
            self.confirmed,
            self.looks,  # replaced, never changed
            self.looked,
            dict(self.classes),
        )

    @property
    def class_name(self) -> str:
        """What it mostly was."""
        return max(self.classes, key=self.classes.__getitem__)

    def see(self, box: Detection, frame: int, at: float, edge: Xyxy) -> None:
        """Take in a box that shows it, in a picture of these edges."""
        self.motion.correct(box.xyxy, edge)
        self.frame, self.at, self.box = frame, at, box
        self.sightings += 1
        self.vote(box)

    def vote(self, box: Detection) -> None:
        """Count the class that it was given."""
        self.classes[box.class_name] = self.classes.get(box.class_name, 0.0) + box.confidence

    def look(self, looks: NDArray[np.float32], at: float) -> None:
        """Take in how it looks, a vector of unit length."""
        mean = looks if self.looks is None else LOOKS_KEPT * self.looks + (1 - LOOKS_KEPT) * looks
        length = float(np.linalg.norm(mean))
        if np.isfinite(length) and length > 0:
            self.looks, self.looked = (mean / length).astype(np.float32), at
