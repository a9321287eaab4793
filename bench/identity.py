"""How well tracks keep to their objects: IDF1, with an exact assignment over the whole clip.

E. Ristani, F. Solera, R. Zou, R. Cucchiara, C. Tomasi: Performance Measures and a Data Set for
Multi-Target, Multi-Camera Tracking, ECCV Workshops 2016.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import astuple, dataclass

from siwatsystem.detections import iou

Box = tuple[float, float, float, float]
Boxes = Mapping[Hashable, Box]
"""The boxes of one frame (pixels xyxy) by whose they are."""
MIN_IOU = 0.5


@dataclass(frozen=True)
class Identity:
    """Boxes of objects, boxes of tracks, and those on which an object and the track assigned to it agree.

    Counts of several clips add up.
    """

    true: int = 0
    tracked: int = 0
    agreed: int = 0

    def __add__(self, other: "Identity") -> "Identity":
        return Identity(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def idf1(self) -> float:
        return 2 * self.agreed / max(1, self.true + self.tracked)

    @property
    def precision(self) -> float:
        return self.agreed / max(1, self.tracked)

    @property
    def recall(self) -> float:
        return self.agreed / max(1, self.true)


@dataclass(frozen=True)
class Moment:
    """One frame: objects that count, objects that nobody is asked for, and what was tracked."""

    objects: Boxes
    ignored: Boxes
    tracks: Boxes


def identity(moments: Sequence[Moment]) -> Identity:
    """The counts of one clip: each object is assigned one track at most, so that most boxes agree.

    An object's and a track's box agree on a frame where their IoU is at least MIN_IOU. A track's box
    that fits an ignored object better than any other is left out.
    """
    true = tracked = 0
    common: Counter[tuple[Hashable, Hashable]] = Counter()
    for moment in moments:
        kept = counted(moment)
        true += len(moment.objects)
        tracked += len(kept)
        common.update(
            (name, track)
            for name, box in moment.objects.items()
            for track, other in kept.items()
            if iou(box, other) >= MIN_IOU
        )
    objects = list(dict.fromkeys(name for name, _ in common))
    tracks = list(dict.fromkeys(track for _, track in common))
    gain = [[common[name, track] for track in tracks] for name in objects]
    return Identity(true, tracked, sum(gain[row][column] for row, column in assign(gain)))


def ids_of(moments: Sequence[Moment]) -> dict[Hashable, list[Hashable]]:
    """Per object the tracks that were on it, in order; one that comes back is named again."""
    found: dict[Hashable, list[Hashable]] = {}
    for moment in moments:
        for name, box in moment.objects.items():
            mine = found.setdefault(name, [])
            best = max(moment.tracks, key=lambda track: iou(box, moment.tracks[track]), default=None)
            if best is None or iou(box, moment.tracks[best]) < MIN_IOU:
                continue
            if not mine or mine[-1] != best:
                mine.append(best)
    return found


def counted(moment: Moment) -> dict[Hashable, Box]:
    """The tracks' boxes without those on ignored objects."""
    kept: dict[Hashable, Box] = {}
    for track, box in moment.tracks.items():
        ignored = max((iou(box, other) for other in moment.ignored.values()), default=0.0)
        wanted = max((iou(box, other) for other in moment.objects.values()), default=0.0)
        if ignored < MIN_IOU or wanted >= ignored:
            kept[track] = box
    return kept


def assign(gain: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pairs (row, column), each row and column at most once, of the greatest total gain.

    The Hungarian method with potentials by shortest augmenting paths (H. W. Kuhn 1955; J. Edmonds,
    R. M. Karp 1972), O(n³); exact.
    """
    if not gain or not gain[0]:
        return []
    if len(gain) > len(gain[0]):
        flipped = assign([list(column) for column in zip(*gain, strict=True)])
        return sorted((row, column) for column, row in flipped)
    rows, columns = len(gain), len(gain[0])
    row_price, column_price = [0.0] * (rows + 1), [0.0] * (columns + 1)
    row_of = [0] * (columns + 1)  # counted from 1; 0 is nobody
    for row in range(1, rows + 1):
        row_of[0] = row
        column = 0
        least, came_from = [float("inf")] * (columns + 1), [0] * (columns + 1)
        done = [False] * (columns + 1)
        while row_of[column]:
            done[column] = True
            here = row_of[column]
            for k in range(1, columns + 1):
                if not done[k]:
                    slack = -gain[here - 1][k - 1] - row_price[here] - column_price[k]
                    if slack < least[k]:
                        least[k], came_from[k] = slack, column
            following = min((k for k in range(1, columns + 1) if not done[k]), key=lambda k: least[k])
            step = least[following]
            for k in range(columns + 1):
                if done[k]:
                    row_price[row_of[k]] += step
                    column_price[k] -= step
                else:
                    least[k] -= step
            column = following
        while column:
            row_of[column] = row_of[came_from[column]]
            column = came_from[column]
    return sorted((row_of[k] - 1, k - 1) for k in range(1, columns + 1) if row_of[k])
