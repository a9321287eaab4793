"""The tables of README.md and docs/performance.md, made of `bench/results/*.json`.

    python -m bench.table [--check]

Writes them between their marks; with `--check` nothing is written and the status is 1 where they differ.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.record import RESULTS

ROOT = Path(__file__).parent.parent
NOT_ROWS = frozenset(["stages", "peers"])
"""What has no goal."""


def rows(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """What was measured, by number."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return sorted((row for row in found if row["name"] not in NOT_ROWS), key=lambda row: row["number"])


def goals_table(results: list[dict[str, Any]]) -> str:
    """A line for every figure that has a goal."""
    lines = [
        "| # | what, against what | figure: median (least to greatest) | goal | | command |",
        "|---|---|---|---|---|---|",
    ]
    for row in results:
        for index, one in enumerate(row["measures"]):
            first = index == 0
            title = f"{row['what']}, against {row['against']}: " if first else ""
            lines.append(
                f"| {row['number'] if first else ''} | {title}{one['name']} | {_figure(one)} | {one['goal']}"
                f" | {'yes' if one['reached'] else '**no**'} | {_command(row) if first else ''} |"
            )
    return "\n".join([*lines, "", measured_on(results)])


def measured_on(results: list[dict[str, Any]]) -> str:
    """On what, with what and when: a sentence for each machine."""
    seen: dict[str, list[str]] = {}
    for row in results:
        machine = row["machine"]
        told = (
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB,"
            f" {machine['system'].partition(' ')[0]}, Python {machine['python']}"
        )
        seen.setdefault(told, []).append(row["date"])
    versions = results[-1]["versions"] if results else {}
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join(f"Measured on {told}, {_span(dates)}, with {libraries}." for told, dates in seen.items())


def stages_table(folder: Path = RESULTS) -> str:
    """What a frame costs, by stage."""
    result = json.loads((folder / "stages.json").read_text(encoding="utf-8"))
    lines = ["| stage | takes, ms | costs, ms of processor time |", "|---|---|---|"]
    for stage, figures in result["stages"].items():
        lines.append(f"| {stage} | {figures['wall_ms']:.2f} | {figures['cpu_ms']:.2f} |")
    return "\n".join(lines)


def tables(folder: Path = RESULTS) -> Mapping[tuple[Path, str], str]:
    """Every generated table by the document and the mark that it belongs to."""
    made: dict[tuple[Path, str], str] = {(ROOT / "README.md", "goals"): goals_table(rows(folder))}
    if (folder / "stages.json").exists():
        made[ROOT / "docs" / "performance.md", "stages"] = stages_table(folder)
    return made


def with_table(text: str, mark: str, table: str) -> str:
    """`text` with `table` between the marks. Raises ValueError where they are missing."""
    begin, end = f"<!-- bench: {mark} -->", f"<!-- bench: end of {mark} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"no {begin} … {end}")
    return f"{before}{begin}\n{table}\n{end}{after}"


def _figure(one: Mapping[str, Any]) -> str:
    value, unit = one["value"], one["unit"]
    unit = f" {unit.strip()}" if unit.strip() else " ×"
    least, median, most = (_short(value[name]) for name in ("min", "median", "max"))
    spread = "" if least == most else f" ({least} to {most})"
    note = f"; {one['note']}" if one["note"] else ""
    return f"{median}{unit}{spread}{note}"


def _short(value: float) -> str:
    """Three figures that count."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{float(f'{value:.3g}'):g}"


def _command(row: Mapping[str, Any]) -> str:
    return f"`{row['command']}`"


def _span(dates: list[str]) -> str:
    return min(dates) if min(dates) == max(dates) else f"{min(dates)} to {max(dates)}"


def main(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; status 1 where they differ")] = False,
) -> None:
    """Write the tables."""
    if not rows():
        print(f"nothing was measured yet: {RESULTS.relative_to(ROOT)} is empty, make bench fills it")
        sys.exit(1 if check else 0)
    stale = False
    for (path, mark), table in tables().items():
        text = path.read_text(encoding="utf-8")
        wanted = with_table(text, mark, table)
        if wanted == text:
            continue
        stale = True
        if check:
            print(f"{path.relative_to(ROOT)}: the table of {mark} is not that of bench/results")
        else:
            path.write_text(wanted, encoding="utf-8")
            print(f"{path.relative_to(ROOT)}: {mark} written")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    typer.run(main)
