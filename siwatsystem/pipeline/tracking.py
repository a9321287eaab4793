"""How a node's detections are followed: the models of `tracking` and `voting` in pipeline.json."""

from typing import Annotated, Literal

from pydantic import AliasGenerator, ConfigDict, Field

from siwatsystem.pipeline.fields import ArchivePath, Fraction, Point, Positive, SpecModel


class TrackerConfig(SpecModel):
    """`tracking.config`: the tracker's own parameters, in the words that trackers use; times in seconds."""

    # Trackers' parameters are written in snake_case everywhere.
    model_config = ConfigDict(alias_generator=AliasGenerator(alias=lambda name: name))

    track_high_thresh: Fraction = 0.4
    """Least confidence of boxes that are matched first; where not set, at most the node's `minConfidence`."""
    track_low_thresh: Fraction = 0.1
    """Least confidence of boxes that may continue a track in the second round; never reported."""
    new_track_thresh: Fraction = 0.5
    """Least confidence of a box that begins a track; where not set, at most the node's `minConfidence`."""
    track_buffer: Positive = 3.0
    """Seconds that a track which is not seen is kept."""
    min_hits: Annotated[int, Field(ge=1)] = 2
    """Frames on which an object must be seen before it is believed and gets an id."""
    match_thresh: Fraction = 0.8
    """Greatest cost (1 - similarity) of a match; 0.5 is where a box is as likely a new object."""
    fuse_score: bool = True
    """Whether confident boxes are preferred."""
    with_reid: bool = False
    """Whether looks are compared too; needs `reidModel`, and method `botsort`."""
    proximity_thresh: Fraction = 0.99
    """How far a box may be from where its track is expected before their looks are no longer compared
    (0: just there, 1: anywhere)."""
    appearance_thresh: Fraction = 0.8
    """Least cosine similarity of looks that speaks for a match."""

    def reaching(self, min_confidence: float) -> "TrackerConfig":
        """The same with thresholds that were not set lowered to what the node tells: whatever is told
        can have a track."""
        lowered = {
            name: min(getattr(self, name), min_confidence)
            for name in ("track_high_thresh", "new_track_thresh")
            if name not in self.model_fields_set
        }
        return self.model_copy(update=lowered)


class Tracking(SpecModel):
    """How a node's detections are followed from frame to frame."""

    enabled: bool = True
    """Whether to track at all."""
    method: Literal["bytetrack", "botsort", "strongsort"] = "bytetrack"
    """`strongsort` is read as `botsort` with appearance."""
    reid_model: ArchivePath | None = None
    """An appearance encoder in the archive."""
    config: TrackerConfig = TrackerConfig()
    """The tracker's own parameters; times in seconds."""
    zone: Annotated[tuple[Point, ...], Field(min_length=3, strict=False)] | None = None
    """Corners in pixels, or fractions when all are at most 1; a box's bottom centre counts."""
    stability_threshold: Annotated[int, Field(ge=0)] = 0
    """Consecutive analysed frames inside the zone before branches and actions run."""
    max_jump: Positive | None = None
    """Pixels between two analysed frames beyond which the step is not counted."""
    reset_interval_sec: Positive = 3600.0
    """Age from which ids start at 1 again once nothing is followed, at the latest after twice as long."""
    once: bool | None = None
    """Whether to act once per id; default: whether `stabilityThreshold` is above 0."""

    @property
    def asks_for_appearance(self) -> bool:
        """Whether tracks are to be told apart by looks, which needs a `reidModel`."""
        return self.method == "strongsort" or self.config.with_reid

    @property
    def acts_once(self) -> bool:
        return self.stability_threshold > 0 if self.once is None else self.once


class Voting(SpecModel):
    """When the classes that a node gave on the frames of one track settle on one."""

    min_votes: Annotated[int, Field(ge=1)] = 3
    """Fewest frames that must have given a class."""
    min_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Time that they must span: frames that follow fast upon each other err alike."""
    min_share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.6
    """Least share of them that must agree."""
    max_votes: Annotated[int, Field(ge=1)] = 30
    """Frames after which the leading class is taken as settled, whatever its share."""
