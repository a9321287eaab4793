"""What `bench.tracking` measured, added up, judged and printed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from bench.carwise import Acts
from bench.identity import Identity

OURS = "ours"
IDF1_GOALS = {10: 0.90, 2: 0.80}
ONCE_GOAL = 0.97
BRAND_GOAL = 0.98
NO_BOXES = Identity()


@dataclass(frozen=True)
class Side:
    """One tracker on one clip or several: `found` cars got `ids` track ids together."""

    identity: Identity = NO_BOXES
    found: int = 0
    ids: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Side") -> "Side":
        return Side(
            self.identity + other.identity,
            self.found + other.found,
            self.ids + other.ids,
            self.seconds + other.seconds,
        )

    @property
    def ids_per_car(self) -> float:
        return self.ids / max(1, self.found)

    def as_dict(self) -> dict[str, Any]:
        return {
            "idf1": round(self.identity.idf1, 4),
            "precision": round(self.identity.precision, 4),
            "recall": round(self.identity.recall, 4),
            "ids_per_car": round(self.ids_per_car, 3),
            "seconds": round(self.seconds, 1),
        }


@dataclass(frozen=True)
class Clip:
    """One clip at one rate; `hidden`: cars that were out of sight for a while."""

    name: str
    fps: int
    cars: int
    hidden: int
    sides: dict[str, Side]
    acts: Acts


def rates_of(clips: Sequence[Clip]) -> list[int]:
    return sorted({clip.fps for clip in clips}, reverse=True)


def totals(clips: Sequence[Clip], fps: int) -> tuple[dict[str, Side], Acts]:
    """Per side and of the cars, over all clips at one rate."""
    chosen = [clip for clip in clips if clip.fps == fps]
    sides = {name: sum((clip.sides[name] for clip in chosen), Side()) for name in chosen[0].sides}
    return sides, sum((clip.acts for clip in chosen), Acts())


def verdicts(clips: Sequence[Clip], fps: int) -> dict[str, bool]:
    """Each goal at one rate, and whether it is met; a rate without a goal of its own has the rest."""
    sides, acts = totals(clips, fps)
    idf1 = sides[OURS].identity.idf1
    return {
        "idf1": idf1 >= IDF1_GOALS.get(fps, 0.0),
        "at_least_as_good": all(idf1 >= side.identity.idf1 for side in sides.values()),
        "once": acts.once_rate >= ONCE_GOAL,
        "brand": acts.right_rate >= BRAND_GOAL,
    }


def passed(clips: Sequence[Clip]) -> bool:
    return bool(clips) and all(all(verdicts(clips, fps).values()) for fps in rates_of(clips))


def report(clips: Sequence[Clip], seconds: float) -> dict[str, Any]:
    """What `--json` prints."""
    rates: dict[str, Any] = {}
    for fps in rates_of(clips):
        sides, acts = totals(clips, fps)
        chosen = [clip for clip in clips if clip.fps == fps]
        rates[str(fps)] = {
            "clips": len(chosen),
            "hidden_for_a_while": sum(clip.hidden for clip in chosen),
            "sides": {name: side.as_dict() for name, side in sides.items()},
            "acts": asdict(acts),
            "once": round(acts.once_rate, 4),
            "brand_right": round(acts.right_rate, 4),
            "verdicts": verdicts(clips, fps),
            "by_clip": {
                clip.name: {
                    "idf1": {name: round(side.identity.idf1, 3) for name, side in clip.sides.items()},
                    "acts": asdict(clip.acts),
                }
                for clip in chosen
            },
        }
    goals = {"idf1": IDF1_GOALS, "once": ONCE_GOAL, "brand_right": BRAND_GOAL}
    return {
        "name": "tracking",
        "rates": rates,
        "goals": goals,
        "seconds": round(seconds, 1),
        "passed": passed(clips),
    }


def tables(clips: Sequence[Clip], seconds: float) -> list[Table]:
    """What is printed otherwise."""
    return [_identity_table(clips, seconds), _acts_table(clips)]


def _identity_table(clips: Sequence[Clip], seconds: float) -> Table:
    count = len({clip.name for clip in clips})
    shown = Table(title=f"Cars followed on {count} rendered clips, measured in {seconds:.0f} s")
    for column in ("", "frames/s", "IDF1", "precision", "recall", "ids a car", "goal", ""):
        shown.add_column(column, justify="left" if not column else "right")
    for fps in rates_of(clips):
        sides, _ = totals(clips, fps)
        for name, side in sides.items():
            own, goal = name == OURS, IDF1_GOALS.get(fps)
            met = all(verdicts(clips, fps)[one] for one in ("idf1", "at_least_as_good"))
            shown.add_row(
                "this pipeline" if own else f"YOLO.track, {name}",
                str(fps),
                f"{side.identity.idf1:.3f}",
                f"{side.identity.precision:.3f}",
                f"{side.identity.recall:.3f}",
                f"{side.ids_per_car:.2f}",
                f"≥ {goal:.2f}" if own and goal else "",
                ("pass" if met else "FAIL") if own else "",
            )
    return shown


def _acts_table(clips: Sequence[Clip]) -> Table:
    shown = Table(title="Cars seen on at least 3 analysed frames")
    for column in ("", "frames/s", "cars", "right", "rate", "goal", ""):
        shown.add_column(column, justify="left" if not column else "right")
    for fps in rates_of(clips):
        _, acts = totals(clips, fps)
        said = verdicts(clips, fps)
        rows = (
            ("acted on exactly once", acts.cars, acts.once, acts.once_rate, ONCE_GOAL, "once"),
            ("voted brand right", acts.named, acts.right, acts.right_rate, BRAND_GOAL, "brand"),
        )
        for label, cars, right, rate, goal, name in rows:
            verdict = "pass" if said[name] else "FAIL"
            shown.add_row(label, str(fps), str(cars), str(right), f"{rate:.1%}", f"≥ {goal:.0%}", verdict)
        shown.add_row("never acted on", str(fps), str(acts.cars), str(acts.never), "", "", "")
        shown.add_row("acted on twice or more", str(fps), str(acts.cars), str(acts.again), "", "", "")
        shown.add_row("actions on no car", str(fps), "", str(acts.astray), "", "", "")
    return shown
