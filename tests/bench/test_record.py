"""Results of benches: how they are judged, kept, and shown in the documents."""

import json
from pathlib import Path

import pytest

from bench import record, table
from bench.record import Measure, Row, Spread


def row(name: str = "pipeline", number: int = 1, median: float = 2.0) -> Row:
    measures = [
        Measure("exact", Spread.of([median - 0.1, median, median + 0.2]), 1.7, "least"),
        Measure("memory", Spread.of([40.0]), 45, "most", " MB", "USS"),
    ]
    return Row(name, number, "demo pipeline", "the naive worker", measures, {"frames": 40})


def test_a_spread_is_least_median_greatest():
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(1.0, 2.0, 3.0)
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


@pytest.mark.parametrize(
    ("median", "goal", "at", "reached"),
    [
        (2.0, 1.7, "least", True),
        (1.6, 1.7, "least", False),
        (1.6, 1.7, "most", True),
        (1.8, 1.7, "most", False),
    ],
)
def test_the_median_is_held_against_the_goal(median: float, goal: float, at: str, reached: bool):
    one = Measure("", Spread.of([0.0, median, 9.0]), goal, at)  # type: ignore[arg-type]
    assert one.reached is reached


def test_a_row_is_reached_when_all_its_measures_are():
    assert row().reached
    assert not row(median=1.0).reached


def test_what_is_kept_says_ratio_goal_machine_and_versions(tmp_path: Path):
    kept = json.loads(row().write(tmp_path).read_text())
    assert kept["ratio"] == {"min": 1.9, "median": 2.0, "max": 2.2}
    assert (kept["name"], kept["goal"], kept["reached"]) == ("pipeline", "≥ 1.7 ×", True)
    assert kept["measures"][1]["goal"] == "≤ 45 MB"
    assert kept["machine"]["cores"] >= 1
    assert "numpy" in kept["versions"]


def test_the_table_has_a_line_a_measure_in_the_order_of_the_rows(tmp_path: Path):
    row("start", 9, 1.0).write(tmp_path)
    row().write(tmp_path)
    lines = table.goals_table(table.rows(tmp_path)).splitlines()
    assert lines[2] == (
        "| 1 | demo pipeline, against the naive worker: exact | 2 × (1.9 to 2.2) | ≥ 1.7 × | yes"
        " | `python -m bench.pipeline` |"
    )
    assert lines[3] == "|  | memory | 40 MB; USS | ≤ 45 MB | yes |  |"
    assert lines[4].startswith("| 9 |")
    assert "| **no** |" in lines[4]


def test_only_what_is_between_the_marks_changes():
    text = "a\n<!-- bench: goals -->\nold\n<!-- bench: end of goals -->\nb\n"
    made = table.with_table(text, "goals", "new")
    assert made == "a\n<!-- bench: goals -->\nnew\n<!-- bench: end of goals -->\nb\n"
    with pytest.raises(ValueError, match="goals"):
        table.with_table("no marks", "goals", "new")


def test_the_documents_show_what_was_measured():
    assert list(record.RESULTS.glob("*.json")), "results belong in the repository"
    for (path, mark), wanted in table.tables().items():
        text = path.read_text(encoding="utf-8")
        assert table.with_table(text, mark, wanted) == text, f"{path.name}: run python -m bench.table"
