"""When *fast* may stand in for *exact*."""

import pytest

from siwatsystem.detections import Classification, Detection
from siwatsystem.runtime.gate import compare

BOX = (10.0, 10.0, 110.0, 60.0)


def car(confidence: float, box: tuple[float, float, float, float] = BOX, name: str = "Car") -> Detection:
    return Detection(name, confidence, box)


def brand(name: str, confidence: float) -> Classification:
    return Classification(name, confidence, {name: confidence})


def test_the_same_passes_and_says_on_how_much():
    result = compare([(car(0.9),), ()], [(car(0.88, (10, 10, 111, 60)),), ()], 0.5)
    assert result.passed
    assert (result.figures.pictures, result.figures.compared) == (2, 1)
    assert result.figures.least_iou == pytest.approx(100 / 101)


@pytest.mark.parametrize("pair", [((car(0.9),), ()), ((), (car(0.9),)), ((car(0.9),), (car(0.4),))])
def test_an_event_lost_or_made_up_fails(pair):
    result = compare([(car(0.9),), pair[0]], [(car(0.9),), pair[1]], 0.5)
    assert not result.passed
    assert "picture 1: Car" in result.reason


def test_near_the_threshold_classes_may_differ():
    result = compare([(car(0.9),), (car(0.51),)], [(car(0.9),), (car(0.49),)], 0.5)
    assert result.passed
    assert result.figures.near_threshold == 1
    assert not compare([(car(0.9),), (car(0.54),)], [(car(0.9),), (car(0.49),)], 0.5).passed


def test_only_classes_of_interest_count():
    exact, fast = [(car(0.9), car(0.9, name="Tree"))], [(car(0.9),)]
    assert not compare(exact, fast, 0.5).passed
    assert compare(exact, fast, 0.5, classes=["Car"]).passed


def test_pictures_with_nothing_on_them_prove_nothing():
    result = compare([(), (car(0.2),)], [(), ()], 0.5)
    assert not result.passed
    assert "nothing" in result.reason


@pytest.mark.parametrize(
    ("exact", "fast", "passed"),
    [
        (brand("Aster", 0.9), brand("Aster", 0.8), True),
        (brand("Aster", 0.9), brand("Borel", 0.9), False),
        (brand("Aster", 0.9), brand("Aster", 0.4), False),
        (brand("Aster", 0.51), brand("Borel", 0.49), True),
        (brand("Aster", 0.51), brand("Borel", 0.51), False),
    ],
)
def test_classifications(exact: Classification, fast: Classification, passed: bool):
    assert compare([exact], [fast], 0.5).passed is passed


def test_where_truth_is_known_boxes_may_not_get_worse():
    truth = [[("Car", BOX)]] * 4
    exact = [(car(0.9),)] * 4
    worse = [(car(0.9, (10, 10, 140, 60)),)] * 4
    assert compare(exact, exact, 0.5, truth).figures.exact_map == pytest.approx(1, abs=0.01)
    result = compare(exact, worse, 0.5, truth)
    assert not result.passed
    assert "mAP50-95 falls" in result.reason
    assert compare(exact, worse, 0.5).passed, "without truth the events decide"


def test_other_pictures_and_other_kinds_cannot_be_compared():
    with pytest.raises(ValueError, match="same pictures"):
        compare([(car(0.9),)], [], 0.5)
    with pytest.raises(ValueError, match="same model"):
        compare([(car(0.9),)], [brand("Aster", 0.9)], 0.5)
