"""A soak of half a minute, and that its verdict notices what is wrong."""

import csv
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.records import missing, out_of_order
from tests.faults.samples import Sample
from tests.faults.soak import Plan, soak
from tests.faults.troubles import TROUBLES
from tests.faults.verdict import Delivered, Held, Outage, Ran, figures, slope

FEW = ("Redis cut", "snapshots half", "PostgreSQL killed", "RTSP cut")
SAMPLE = Sample(0, 500, 450, 420, 400, 40, 60, 0, 0.1, 0.2, 0, 0, float("nan"), 0, 0, 0, 0, 0)
HELD = Held(40, 60, 0)
DELIVERED = Delivered(100, 0, 0, 0, 0, 0, 0, 0)
RAN = Ran(True, 0, 0, 0, 0, 0)
OUTAGE = Outage("Redis cut", 60, 20, 1.0, 1.0)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_short_soak(tmp_path: Path):
    troubles = [one for one in TROUBLES if one.name in FEW]
    plan = Plan(14, 4, (1.5, 2.5), sample_sec=1, calm_sec=2, troubles=troubles)
    found = soak(plan, tmp_path, tmp_path / "soak.png", threading.Event(), SIWAT_RUNTIME__PRECISION="exact")
    assert [str(figure) for figure in found if not figure.kept_here] == []
    played = [json.loads(line)["name"] for line in (tmp_path / "faults.jsonl").read_text().splitlines()]
    assert set(played) <= set(FEW)
    with (tmp_path / "samples.csv").open() as lines:
        samples = list(csv.DictReader(lines))
    assert len(samples) > 5
    assert float(samples[-1]["detections"]) > 0
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")


def growing(mb_per_hour: float, hours: float) -> list[Sample]:
    """A sample a minute; the first hour fills caches, and the heap keeps now more, now less."""
    minutes = range(int(hours * 60))
    return [
        replace(SAMPLE, at_sec=60 * n, own_mb=400 + min(n, 60) + mb_per_hour * n / 60 + 3 * (n % 9))
        for n in minutes
    ]


def test_the_slope_is_that_of_the_time_after_the_first_hour():
    for rise in (0.0, 0.5, 3.0):
        found = slope(growing(rise, 6))
        assert found.mb_per_hour == pytest.approx(rise, abs=0.1)
        assert found.least <= rise <= found.most + 0.1
        assert found.where == "after the first hour, over 299 min"


def test_of_a_shorter_soak_it_is_that_of_the_second_half():
    found = slope(growing(2, 1))
    assert found.mb_per_hour > 30
    assert found.judged
    assert found.where == "after 30 min, over 30 min"
    assert not slope(growing(2, 0.5)).judged


def test_a_soak_in_which_all_went_well_is_called_so():
    assert all(one.kept for one in figures(growing(0.2, 6), [OUTAGE], (HELD, HELD), DELIVERED, RAN))


@pytest.mark.parametrize(
    ("samples", "outage", "after", "delivered", "ran"),
    [
        (growing(3, 6), OUTAGE, HELD, DELIVERED, RAN),
        ([SAMPLE], replace(OUTAGE, recovered_sec=None), HELD, DELIVERED, RAN),
        ([SAMPLE], replace(OUTAGE, recovered_sec=11.0), HELD, DELIVERED, RAN),
        ([SAMPLE], replace(OUTAGE, kept_rate=0.5), HELD, DELIVERED, RAN),
        ([SAMPLE], OUTAGE, replace(HELD, threads=45), DELIVERED, RAN),
        ([SAMPLE], OUTAGE, replace(HELD, descriptors=65), DELIVERED, RAN),
        ([SAMPLE], OUTAGE, replace(HELD, children=1), DELIVERED, RAN),
        ([SAMPLE], OUTAGE, HELD, replace(DELIVERED, records_lost=1), RAN),
        ([SAMPLE], OUTAGE, HELD, replace(DELIVERED, records_doubled=1), RAN),
        ([SAMPLE], OUTAGE, HELD, replace(DELIVERED, images_lost=1), RAN),
        ([SAMPLE], OUTAGE, HELD, replace(DELIVERED, waiting=1), RAN),
        ([SAMPLE], OUTAGE, HELD, DELIVERED, replace(RAN, alive=False)),
        ([SAMPLE], OUTAGE, HELD, DELIVERED, replace(RAN, closed=1)),
    ],
)
def test_each_broken_promise_is_noticed(
    samples: list[Sample], outage: Outage, after: Held, delivered: Delivered, ran: Ran
):
    found = figures(samples, [outage], (HELD, after), delivered, ran)
    assert sum(not one.kept for one in found) in (1, 2)


def test_what_was_told_and_not_written_is_found():
    told = [("1", 1000), ("1", 1500), ("2", 1000)]
    assert missing(told, [("1", 999), ("1", 1500)]) == [("2", 1000)]
    assert missing(told, [("1", 1001), ("1", 1500), ("2", 1000)]) == []


def test_an_older_write_after_a_newer_one_is_out_of_order():
    assert out_of_order([("1", 1000), ("2", 500), ("1", 1000), ("1", 1500), ("2", 600)]) == 0
    assert out_of_order([("1", 1000), ("1", 1500), ("1", 1000)]) == 1
