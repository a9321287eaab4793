from dataclasses import dataclass

import pytest

from bench.accuracy import Box, Event, Tally, match, overlap, report


@dataclass(frozen=True)
class Car:
    box: Box | None
    brand: str = "Aster"
    body_type: str = "SUV"
    visible: bool = True


BOX: Box = (0, 0, 100, 100)


def test_overlap_by_hand() -> None:
    assert overlap(BOX, BOX) == 1
    assert overlap(BOX, (50, 0, 150, 100)) == pytest.approx(1 / 3)
    assert overlap(BOX, (200, 0, 300, 100)) == 0


def test_a_right_event() -> None:
    tally = match([Car(BOX)], [Event((5, 0, 100, 100), "Aster", "SUV")])
    assert tally == Tally(1, 1, 1, 1, 1, 1, 0)
    assert tally.passed


def test_a_wrong_brand_is_found_but_not_right() -> None:
    assert match([Car(BOX)], [Event(BOX, "Borel", "SUV")]) == Tally(1, 1, 1, 0, 1, 0, 0)


def test_nothing_seen_where_a_car_is() -> None:
    assert match([Car(BOX)], []) == Tally(1, 1, 0, 0, 0, 0, 0)


def test_something_seen_where_nothing_is() -> None:
    assert match([], [Event(BOX, None, None)]) == Tally(1, 0, 0, 0, 0, 0, 1)


def test_a_hidden_car_is_neither_asked_for_nor_held_against_the_finder() -> None:
    assert match([Car(BOX, visible=False)], [Event(BOX, "Borel", "Sedan")]) == Tally(1)
    assert match([Car(None, visible=False)], []) == Tally(1)


def test_two_events_on_one_car_are_one_found_and_one_false() -> None:
    events = [Event((0, 0, 100, 80), "Aster", "SUV"), Event(BOX, "Aster", "SUV")]
    assert match([Car(BOX)], events) == Tally(1, 1, 1, 1, 1, 1, 1)


def test_the_better_pair_wins() -> None:
    near = Car((20, 0, 120, 100), brand="Borel")
    tally = match([Car(BOX), near], [Event((18, 0, 118, 100), "Borel", "SUV"), Event(BOX, "Aster", "SUV")])
    assert (tally.found, tally.brand_right) == (2, 2)


def test_tallies_add_up_and_miss_goals() -> None:
    total = Tally(1, 20, 19, 19, 19, 19, 1) + Tally(1, 20, 17, 17, 17, 17, 0)
    assert (total.frames, total.visible, total.found) == (2, 40, 36)
    assert total.rates["found"] == pytest.approx(0.9)
    assert total.rates["false_positives_per_frame"] == 0.5
    assert not total.passed
    assert not Tally().passed


def test_the_report_says_counts_rates_and_verdict() -> None:
    said = report(match([Car(BOX)], [Event(BOX, "Aster", "SUV")]))
    assert (said["visible"], said["rates"]["found"], said["passed"]) == (1, 1.0, True)
