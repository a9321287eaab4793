"""The last minutes of a few figures, as many bytes whether much happens or little."""

from array import array
from statistics import fmean

STEP_SEC = 5.0
"""Between two samples."""
KEPT = 120
"""Samples: ten minutes."""
NOTHING = float("nan")


class History:
    """Rings of samples, one for each name, all taken at the same times."""

    def __init__(self, names: tuple[str, ...], kept: int = KEPT) -> None:
        self._kept = kept
        self._at = array("d", bytes(8 * kept))
        self._values = {name: array("f", [NOTHING]) * kept for name in names}
        self._count = 0

    def add(self, at: float, **values: float | None) -> None:
        """One sample of every name, at that time (seconds since 1970); None for what is not known."""
        place = self._count % self._kept
        self._at[place] = at
        for name, ring in self._values.items():
            value = values[name]
            ring[place] = NOTHING if value is None else value
        self._count += 1

    def newest(self, name: str) -> float | None:
        """None before the first sample, and where it was not known."""
        if not self._count:
            return None
        value = self._values[name][(self._count - 1) % self._kept]
        return None if value != value else value

    def lately(self, name: str, count: int) -> float | None:
        """The mean of the newest `count` samples, as far as they are known; None where none is."""
        places = [
            (self._count - back) % self._kept for back in range(1, min(count, self._count, self._kept) + 1)
        ]
        known = [value for value in (self._values[name][place] for place in places) if value == value]
        return fmean(known) if known else None

    def as_dict(self) -> dict[str, list[float | None]]:
        """`at` and each name's values, oldest first, all equally long."""
        count = min(self._count, self._kept)
        order = [(self._count - count + index) % self._kept for index in range(count)]
        found: dict[str, list[float | None]] = {"at": [round(self._at[place], 1) for place in order]}
        for name, ring in self._values.items():
            values = (ring[place] for place in order)
            found[name] = [None if value != value else round(value, 3) for value in values]
        return found


class Rates:
    """How fast a counter grows, from sample to sample."""

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None

    def rate(self, count: float, now: float) -> float | None:
        """Per second since the last call; None at the first, and where the counter began anew."""
        before, self._before = self._before, (count, now)
        if before is None or now <= before[1] or count < before[0]:
            return None
        return (count - before[0]) / (now - before[1])
