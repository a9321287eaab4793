"""How often the demo archive is right, on rendered scenes whose seeds never trained anything.

    python -m bench.accuracy [--json] [--frames 200] [--precision exact|fast] [--archive FILE]

Runs demo.mpta through the product's own pipeline and compares its events with what is in the pictures.
Exit status 1 when a goal is missed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

ARCHIVE = Path(__file__).parent.parent / "demo" / "demo.mpta"
FRAME_SIZE = (1280, 720)
MIN_IOU = 0.5
GOALS = {"found": 0.95, "both_right": 0.95}

Box = tuple[float, float, float, float]


class Truth(Protocol):
    """What is needed of `demo.scenes.CarTruth`."""

    @property
    def brand(self) -> str: ...
    @property
    def body_type(self) -> str: ...
    @property
    def box(self) -> Box | None: ...
    @property
    def visible(self) -> bool: ...


@dataclass(frozen=True)
class Event:
    """One car as the pipeline told of it; `box` pixels xyxy."""

    box: Box
    brand: str | None
    body_type: str | None


@dataclass(frozen=True)
class Tally:
    """Counts over some frames; they add up."""

    frames: int = 0
    visible: int = 0
    found: int = 0
    brand_right: int = 0
    body_right: int = 0
    both_right: int = 0
    false_positives: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    @property
    def rates(self) -> dict[str, float]:
        """Found of visible; right of found; false positives a frame."""
        found = max(1, self.found)
        return {
            "found": self.found / max(1, self.visible),
            "brand_right": self.brand_right / found,
            "body_right": self.body_right / found,
            "both_right": self.both_right / found,
            "false_positives_per_frame": self.false_positives / max(1, self.frames),
        }

    @property
    def passed(self) -> bool:
        return self.visible > 0 and all(self.rates[name] >= goal for name, goal in GOALS.items())


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def match(truth: Sequence[Truth], events: Sequence[Event]) -> Tally:
    """Scores one frame: each event takes the car that it overlaps most, best pairs first.

    A car that is not visible enough to be asked for is not held against an event that found it.
    """
    pairs = sorted(
        (
            (overlap(car.box, event.box), t, e)
            for t, car in enumerate(truth)
            if car.box is not None
            for e, event in enumerate(events)
        ),
        reverse=True,
    )
    car_of: dict[int, int] = {}
    for quality, t, e in pairs:
        if quality >= MIN_IOU and e not in car_of and t not in car_of.values():
            car_of[e] = t
    hits = [(truth[t], events[e]) for e, t in car_of.items() if truth[t].visible]
    brands = [car.brand == event.brand for car, event in hits]
    bodies = [car.body_type == event.body_type for car, event in hits]
    return Tally(
        frames=1,
        visible=sum(car.visible for car in truth),
        found=len(hits),
        brand_right=sum(brands),
        body_right=sum(bodies),
        both_right=sum(a and b for a, b in zip(brands, bodies, strict=True)),
        false_positives=len(events) - len(car_of),
    )


Predict = Callable[[Any], list[Event]]
"""A picture (H×W×3 BGR) to what the pipeline tells of it."""


class _Nowhere:
    """Takes the place of the outbox: events are what is measured, actions go nowhere."""

    def submit(self, event: object) -> bool:
        return True


@contextmanager
def demo_pipeline(archive: Path, precision: Literal["exact", "fast"]) -> Iterator[Predict]:
    """The archive, opened as the worker opens it, as a function of a picture."""
    from siwatsystem.archive import extract
    from siwatsystem.config import ModelSettings, RuntimeSettings
    from siwatsystem.model_registry import ModelRegistry
    from siwatsystem.pipeline.events import EventContext
    from siwatsystem.pipeline.executor import Pipeline
    from siwatsystem.pipeline.models import load_models
    from siwatsystem.pipeline.opening import read_spec

    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(2) as threads:
        registry = ModelRegistry(RuntimeSettings(), Path(temporary) / "runtime")
        folder = extract(archive, Path(temporary) / "archive", ModelSettings())
        spec = read_spec(folder, registry)
        models = load_models(spec, folder, registry, "bench")
        targets = {"redis": "nowhere", "postgresql": "nowhere"}
        pipeline = Pipeline(spec, models, _Nowhere(), targets, threads)
        if precision == "fast":
            for model in models.values():
                model.ensure_fast()
        pipeline.precision = precision

        def predict(image: Any) -> list[Event]:
            said = [(event.xyxy, event.attributes) for event in pipeline.run(image, EventContext())]
            return [
                Event(box, _text(known.get("carBrand")), _text(known.get("bodyType"))) for box, known in said
            ]

        try:
            yield predict
        finally:
            registry.close()


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def measure(predict: Predict, frames: int, console: Console) -> Tally:
    """The tally over the first `frames` evaluation seeds."""
    from demo.scenes import render
    from demo.seeds import EVALUATION

    total = Tally()
    for seed in track(EVALUATION[:frames], "Scenes", console=console, transient=True):
        scene = render(seed, FRAME_SIZE)
        total += match(scene.cars, predict(scene.image))
    return total


def report(tally: Tally) -> dict[str, Any]:
    """What `--json` prints."""
    rates = {name: round(rate, 4) for name, rate in tally.rates.items()}
    return {"name": "accuracy", **asdict(tally), "rates": rates, "goals": GOALS, "passed": tally.passed}


def table(tally: Tally) -> Table:
    """What is printed otherwise."""
    title = f"Demo archive on {tally.frames} unseen scenes of {FRAME_SIZE[0]}×{FRAME_SIZE[1]}"
    shown = Table(title=title)
    for column in ("", "count", "rate", "goal", ""):
        shown.add_column(column, justify="left" if not column else "right")
    shown.add_row("cars visible", str(tally.visible), "", "", "")
    rows = (
        ("found", "found", tally.found),
        ("right brand", "brand_right", tally.brand_right),
        ("right body type", "body_right", tally.body_right),
        ("both right", "both_right", tally.both_right),
    )
    for label, name, count in rows:
        rate, goal = tally.rates[name], GOALS.get(name)
        verdict = "" if goal is None else "pass" if rate >= goal else "FAIL"
        shown.add_row(label, str(count), f"{rate:.1%}", "" if goal is None else f"≥ {goal:.0%}", verdict)
    per_frame = f"{tally.rates['false_positives_per_frame']:.3f} a frame"
    shown.add_row("false positives", str(tally.false_positives), per_frame, "", "")
    return shown


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    frames: Annotated[int, typer.Option(min=1, max=1000, help="Scenes to measure on")] = 200,
    precision: Annotated[str, typer.Option(help="exact or fast")] = "exact",
    archive: Annotated[Path, typer.Option(help="The archive to measure")] = ARCHIVE,
) -> None:
    """Measure, print, and fail when a goal is missed."""
    if precision not in ("exact", "fast"):
        raise typer.BadParameter("exact or fast", param_hint="--precision")
    with demo_pipeline(archive, precision) as predict:
        tally = measure(predict, frames, Console(stderr=True))
    if as_json:
        print(json.dumps(report(tally)))
    else:
        Console().print(table(tally))
    raise typer.Exit(0 if tally.passed else 1)


if __name__ == "__main__":
    typer.run(main)
