"""What came in a window of time, by camera. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """`results` of each camera in `seconds`, and the processor time they took."""

    results: Sequence[int]
    seconds: float
    cpu: float
    elsewhere: float = 0.0
    """Cores that everybody else kept busy, the cameras among them: on an idle machine next to none."""

    @property
    def rate(self) -> float:
        """Results of all cameras a second."""
        return self.rate_of(range(len(self.results)))

    @property
    def cpu_ms(self) -> float | None:
        """Processor time of a result; None where there was none."""
        done = sum(self.results)
        return 1000 * self.cpu / done if done else None

    def rate_of(self, cameras: Iterable[int]) -> float:
        return sum(self.results[camera] for camera in cameras) / self.seconds

    def as_dict(self) -> dict[str, object]:
        return {
            "results": list(self.results),
            "seconds": round(self.seconds, 2),
            "rate": round(self.rate, 2),
            "cpu_ms_a_result": None if self.cpu_ms is None else round(self.cpu_ms, 1),
            "cores_elsewhere": round(self.elsewhere, 2),
        }


def counted(times: Sequence[float], began: float, ended: float) -> int:
    """How many of the rising `times` lie in [began, ended)."""
    return bisect_left(times, ended) - bisect_left(times, began)


def by_subscription(metrics: Mapping[str, float], series: str, label: str, names: Sequence[str]) -> list[int]:
    """The samples of a counter for `names`, 0 where it has none yet; `metrics` as `Worker.metrics`."""
    return [int(metrics.get(f'{series}{{{label}="{name}"}}', 0)) for name in names]


def ratios(ours: Sequence[Window], theirs: Sequence[Window]) -> list[float]:
    """Our rate as a multiple of theirs, by repetition. Raises ValueError where they had no results: of
    that nothing can be said."""
    if any(window.rate == 0 for window in theirs):
        raise ValueError("a side gave no result in a whole window: the windows are too short here")
    return [own.rate / other.rate for own, other in zip(ours, theirs, strict=True)]


def kept(before: Window, after: Window, cameras: Sequence[int]) -> float:
    """What share of their rate `cameras` have kept from one window to the other. Raises ValueError
    where they had none."""
    had = before.rate_of(cameras)
    if not had:
        raise ValueError("cameras without results cannot lose any")
    return after.rate_of(cameras) / had
