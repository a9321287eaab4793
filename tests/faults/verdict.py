"""What a soak has shown: the slope of the memory, what was lost, and whether each promise was kept."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from tests.faults.promise import Figure
from tests.faults.samples import Sample

HOUR_SEC = 3600.0
LEAST_SEC = 1200.0
"""Of a shorter time the slope is told, not judged."""
MORE_THREADS = 4
AGAIN_SEC = 10.0


@dataclass(frozen=True, slots=True)
class Outage:
    """One fault that was played."""

    name: str
    began_sec: float
    lasted_sec: float
    recovered_sec: float | None
    """From its end to frames of all cameras and no server away; None: not at all."""
    kept_rate: float
    """Share of their rate that the cameras kept meanwhile which it did not hit."""

    @property
    def kept(self) -> bool:
        return self.recovered_sec is not None and self.recovered_sec <= AGAIN_SEC


@dataclass(frozen=True, slots=True)
class Slope:
    """How fast the memory grew: the median slope over all pairs of points, which single ones do not move
    (Theil and Sen), and where it lies in 19 of 20 cases (Sen's interval)."""

    mb_per_hour: float
    least: float
    most: float
    from_sec: float
    to_sec: float
    points: tuple[tuple[float, float], ...]
    """Hours and megabytes."""

    @property
    def judged(self) -> bool:
        return self.to_sec - self.from_sec >= LEAST_SEC

    @property
    def where(self) -> str:
        first = f"after {self.from_sec / 60:.0f} min" if self.from_sec != HOUR_SEC else "after the first hour"
        return f"{first}, over {(self.to_sec - self.from_sec) / 60:.0f} min"


def slope(samples: Sequence[Sample]) -> Slope:
    """Of what it has allocated: after the first hour, of a soak below two hours in its second half.

    Points are the least of up to ten minutes each: a heap keeps now more, now less of what was given
    back to it, and what is leaked raises its least as well.
    """
    end = samples[-1].at_sec if samples else 0.0
    begin = HOUR_SEC if end >= 2 * HOUR_SEC else end / 2
    wide = min(600.0, max(60.0, (end - begin) / 20))
    pieces: dict[int, list[Sample]] = {}
    for sample in samples:
        if sample.at_sec >= begin:
            pieces.setdefault(int((sample.at_sec - begin) // wide), []).append(sample)
    lowest = [min(piece, key=lambda sample: sample.own_mb) for piece in pieces.values()]
    points = tuple((one.at_sec / HOUR_SEC, one.own_mb) for one in lowest)
    slopes = sorted((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2))
    if not slopes:
        return Slope(0.0, 0.0, 0.0, begin, end, points)
    count = len(points)
    spread = 1.96 * (count * (count - 1) * (2 * count + 5) / 18) ** 0.5
    least = slopes[max(0, round((len(slopes) - spread) / 2))]
    most = slopes[min(len(slopes) - 1, round((len(slopes) + spread) / 2))]
    return Slope(statistics.median(slopes), least, most, begin, end, points)


@dataclass(frozen=True, slots=True)
class Held:
    """What the worker holds at a calm moment."""

    threads: int
    descriptors: int
    children: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the backend was told, against what arrived."""

    told: int
    records_lost: int
    records_doubled: int
    records_out_of_order: int
    images_lost: int
    messages_lost: int
    failed_or_dropped: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Ran:
    """How the worker itself fared."""

    alive: bool
    unanswered: int
    closed: int
    """Times that the connection of the backend that reads all was ended."""
    tracebacks: int
    failed_parts: float
    unplayed: int
    """Faults that could not be made or ended."""


def figures(
    samples: Sequence[Sample],
    outages: Sequence[Outage],
    held: tuple[Held, Held],
    delivered: Delivered,
    ran: Ran,
    more_threads: int = MORE_THREADS,
) -> list[Figure]:
    """All of it, in the order of the table."""
    before, after = held
    kept = [one.kept_rate for one in outages]
    late = [one for one in outages if not one.kept]
    longest = max((one.recovered_sec or 0.0 for one in outages), default=0.0)
    grown = slope(samples)
    return [
        *([_memory(grown)] if grown.judged else []),
        Figure("more threads", after.threads - before.threads, more_threads),
        Figure("more descriptors", after.descriptors - before.descriptors, 4),
        Figure("more children", after.children - before.children, 0),
        Figure("faults played", len(outages), 1, least=True),
        Figure("faults that could not be played", ran.unplayed, 0),
        Figure(f"of them without frames of all cameras within {AGAIN_SEC:.0f} s", len(late), 0, timed=True),
        Figure("longest until then", longest, AGAIN_SEC, "s", timed=True),
        Figure(
            "of their rate kept by cameras that were not hit",
            100 * statistics.fmean(kept or [1]),
            95,
            "%",
            least=True,
            timed=True,
        ),
        Figure("detections told in a session", delivered.told, 1, least=True),
        Figure("records lost", delivered.records_lost, 0),
        Figure("records doubled", delivered.records_doubled, 0),
        Figure("records out of order", delivered.records_out_of_order, 0),
        Figure("images lost", delivered.images_lost, 0),
        Figure("messages lost", delivered.messages_lost, 0),
        Figure("actions failed or dropped", delivered.failed_or_dropped, 0),
        Figure("actions waiting at the end", delivered.waiting, 0),
        Figure("worker alive", ran.alive, 1, least=True),
        Figure("requests unanswered", ran.unanswered, 0),
        Figure("times the reading backend was cut off", ran.closed, 0),
        Figure("tracebacks in the worker's log", ran.tracebacks, 0),
        Figure("parts failed at the end", ran.failed_parts, 0),
    ]


def _memory(grown: Slope) -> Figure:
    interval = f"95 %: {grown.least:.2g} to {grown.most:.2g}"
    return Figure(f"memory ({grown.where}; {interval})", grown.mb_per_hour, 1, "MB/h")
