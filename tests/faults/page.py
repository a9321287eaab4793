"""The tables of docs/reliability.md that are made of what was measured."""

from collections.abc import Sequence
from pathlib import Path

from tests.faults.promise import Figure, Promise

PAGE = Path(__file__).parent.parent.parent / "docs" / "reliability.md"


def write(part: str, text: str) -> None:
    """Put `text` between `<!-- part -->` and `<!-- end of part -->` of the page."""
    begin, end = f"<!-- {part} -->", f"<!-- end of {part} -->"
    before, found, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    assert found, f"{PAGE.name} has no {begin}"
    assert ended, f"{PAGE.name} has no {end}"
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def promises_table(promises: Sequence[Promise], measured: dict[str, list[str]]) -> str:
    """Fault, how it is made, promise, measured."""
    lines = ["| fault | how it is made | promise | measured |", "|---|---|---|---|"]
    for promise in promises:
        if promise.name in measured:
            figures = "; ".join(measured[promise.name])
            lines.append(f"| {promise.fault} | {promise.made_by} | {promise.promise} | {figures} |")
    return "\n".join(lines)


def soak_table(figures: Sequence[Figure]) -> str:
    """What, measured, promised, whether it was kept."""
    lines = ["| what | measured | promised | |", "|---|---|---|---|"]
    for one in figures:
        sign, unit = "≥" if one.least else "≤", f" {one.unit}" if one.unit else ""
        kept = "kept" if one.kept else "**broken**"
        lines.append(f"| {one.name} | {one.value:.4g}{unit} | {sign} {one.limit:g}{unit} | {kept} |")
    return "\n".join(lines)
