"""How often plates.mpta is right, on rendered cars that never trained anything.

    python -m examples.plates.measure [--json] [--frames 120]

Runs the shipped archive as the worker does: car, plate on its front, type of the plate. Exit status 1 when a
goal is missed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from bench.accuracy import MIN_IOU, overlap
from demo.scenes import CarTruth
from siwatsystem.pipeline.events import Event, EventContext

from ..opened import opened
from ..pack import archive_of
from .scenes import EVALUATION, PlateTruth, render

ARCHIVE = archive_of("plates")
GOALS = {"cars_found": 0.95, "plates_found": 0.95, "types_right": 0.95}


@dataclass(frozen=True)
class Tally:
    """Counts over some frames; they add up. A car counts that is *visible* and has a legible plate."""

    frames: int = 0
    cars: int = 0
    cars_found: int = 0
    plates_found: int = 0
    types_right: int = 0
    false_plates: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    @property
    def rates(self) -> dict[str, float]:
        """Cars found of all, their plates of these, right types of the plates."""
        return {
            "cars_found": self.cars_found / max(1, self.cars),
            "plates_found": self.plates_found / max(1, self.cars_found),
            "types_right": self.types_right / max(1, self.plates_found),
        }

    @property
    def passed(self) -> bool:
        return self.cars > 0 and all(self.rates[name] >= goal for name, goal in GOALS.items())


def match(cars: Sequence[CarTruth], plates: Sequence[PlateTruth | None], events: Sequence[Event]) -> Tally:
    """Scores one frame. A plate is found where the event's overlaps the true one by at least half."""
    total = Tally(frames=1)
    for car, plate in zip(cars, plates, strict=True):
        if plate is None or not plate.legible or not car.visible or car.box is None:
            continue
        box = car.box
        event = max(events, key=lambda event: overlap(box, event.xyxy), default=None)
        if event is None or overlap(box, event.xyxy) < MIN_IOU:
            total += Tally(cars=1)
            continue
        found = event.branches.get("plate_detection")
        hit = found is not None and any(overlap(plate.box, one.xyxy) >= MIN_IOU for one in found.boxes)
        right = hit and event.attributes.get("licensePlateType") == plate.plate_type
        total += Tally(cars=1, cars_found=1, plates_found=int(hit), types_right=int(right))
    return total + Tally(false_plates=_false_plates(plates, events))


def _false_plates(plates: Sequence[PlateTruth | None], events: Sequence[Event]) -> int:
    """Plates told of where there is none, or hardly a trace of one."""
    told = [
        box
        for event in events
        for name in ("plate_detection",)
        if name in event.branches
        for box in event.branches[name].boxes
    ]
    true = [plate.box for plate in plates if plate is not None]
    return sum(all(overlap(box, one.xyxy) == 0 for box in true) for one in told)


def measure(frames: int) -> Tally:
    """The tally over the first `frames` evaluation seeds."""
    total = Tally()
    with opened(ARCHIVE) as (pipeline, _):
        for seed in EVALUATION[:frames]:
            scene = render(seed)
            total += match(scene.cars, scene.plates, pipeline.run(scene.image, EventContext()))
    return total


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    frames: Annotated[int, typer.Option(min=1, max=1000, help="Scenes to measure on")] = 120,
) -> None:
    """Measure, print, and fail when a goal is missed."""
    tally = measure(frames)
    rates = {name: round(rate, 4) for name, rate in tally.rates.items()}
    if as_json:
        said = {"name": "plates", **asdict(tally), "rates": rates, "goals": GOALS, "passed": tally.passed}
        print(json.dumps(said))
    else:
        print(f"{tally.cars} cars with a legible plate in {tally.frames} scenes")
        of = {"cars_found": tally.cars, "plates_found": tally.cars_found, "types_right": tally.plates_found}
        for name, rate in tally.rates.items():
            verdict = "pass" if rate >= GOALS[name] else "FAIL"
            print(
                f"{name:13} {getattr(tally, name):4} of {of[name]:4}  {rate:6.1%}  "
                f"(goal {GOALS[name]:.0%})  {verdict}"
            )
        print(f"false plates  {tally.false_plates:4}")
    raise typer.Exit(0 if tally.passed else 1)


if __name__ == "__main__":
    typer.run(main)
