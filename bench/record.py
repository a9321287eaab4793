"""What a bench found out, as `bench/results/<name>.json`; the README's table is made of these files."""

import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

RESULTS = Path(__file__).parent / "results"
LIBRARIES = (
    "openvino",
    "torch",
    "ultralytics",
    "onnxruntime",
    "av",
    "opencv-python",
    "numpy",
    "uvicorn",
    "fastapi",
)


@dataclass(frozen=True, slots=True)
class Spread:
    """Least, median and greatest of a figure's repetitions."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Raises ValueError for no values."""
        if not values:
            raise ValueError("a figure needs at least one repetition")
        return cls(*(round(value, 4) for value in (min(values), statistics.median(values), max(values))))


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure held against its goal: `value` is a ratio unless `unit` says otherwise."""

    name: str
    value: Spread
    goal: float
    at: Literal["least", "most"]
    """Whether the goal is the least or the most that the median may be."""
    unit: str = ""
    note: str = ""

    @property
    def reached(self) -> bool:
        median = self.value.median
        return median >= self.goal if self.at == "least" else median <= self.goal


@dataclass(frozen=True)
class Row:
    """What one bench module measured. `number` is its place in the table, `against` the other side."""

    name: str
    number: int
    what: str
    against: str
    measures: Sequence[Measure]
    figures: dict[str, Any] = field(default_factory=dict[str, Any])
    """Everything else worth keeping: the absolute figures of both sides, counts, settings."""

    @property
    def reached(self) -> bool:
        return all(measure.reached for measure in self.measures)

    def as_dict(self) -> dict[str, Any]:
        """What is written; `ratio` and `goal` are those of the first measure."""
        first = self.measures[0]
        return {
            "name": self.name,
            "number": self.number,
            "what": self.what,
            "against": self.against,
            "ratio": asdict(first.value),
            "goal": _goal(first),
            "reached": self.reached,
            "measures": [
                {**asdict(measure), "goal": _goal(measure), "reached": measure.reached}
                for measure in self.measures
            ],
            "figures": self.figures,
            "command": f"python -m bench.{self.name}",
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "machine": machine(),
            "versions": versions(),
        }

    def write(self, folder: Path = RESULTS) -> Path:
        """Keep it as `<name>.json`; an older result of the same name is replaced."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return path

    def show(self) -> str:
        """The measures, a line each."""
        lines = [f"{self.number}. {self.what}, against {self.against}"]
        for one in self.measures:
            value = f"{one.value.median:g}{one.unit} ({one.value.min:g} to {one.value.max:g})"
            lines.append(
                f"   {one.name}: {value}; goal {_goal(one)}: {'reached' if one.reached else 'MISSED'}"
            )
        return "\n".join(lines)


def finish(row: Row, *, as_json: bool = False, keep: bool = True) -> None:
    """What every bench does at its end: keep the result and print it."""
    if keep:
        row.write()
    print(json.dumps(row.as_dict(), ensure_ascii=False) if as_json else row.show())


def _goal(measure: Measure) -> str:
    sign = "≥" if measure.at == "least" else "≤"
    unit = f" {measure.unit.strip()}" if measure.unit.strip() else " ×"
    return f"{sign} {measure.goal:g}{unit}"


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """The libraries that matter, as installed."""
    out: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    bf16 = ", bf16" if {"avx512_bf16", "amx_bf16"} & set(flags) else ""
    return f"{model}{bf16}"
