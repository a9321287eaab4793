import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siwatsystem.pipeline.zone_checks import MAX_CORNERS, mixes_units, zone_trouble

SQUARE = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
HOOK = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (3.0, 4.0), (3.0, 1.0), (0.0, 1.0)]


@pytest.mark.parametrize("zone", [SQUARE, SQUARE[::-1], [*SQUARE, SQUARE[0]], HOOK, HOOK[:3]])
def test_a_zone_with_an_inside_is_right(zone: list[tuple[float, float]]) -> None:
    assert zone_trouble(zone) is None


@pytest.mark.parametrize(
    "zone",
    [
        [(0, 0), (1, 1), (0.5, 0.5)],
        [(0.1, 0.1), (0.2, 0.2), (0.7, 0.7)],
        [(10, 5), (20, 5), (700, 5)],
        [(3, 3)] * 4,
        [(0, 0), (9, 9), (0, 0), (9, 9)],
    ],
)
def test_a_zone_without_area_is_told(zone: list[tuple[float, float]]) -> None:
    assert "has no area" in str(zone_trouble(zone))


def test_a_zone_that_crosses_itself_is_told_with_its_edges() -> None:
    bow = [SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3]]
    assert zone_trouble(bow) == "crosses itself: the edge from [0, 0] and the edge from [1, 0]"
    skewed = [(0.0, 0.0), (10.0, 0.0), (2.0, 8.0), (9.0, 9.0)]
    assert "edge from [10, 0]" in str(zone_trouble(skewed))
    assert zone_trouble([*skewed[:2], skewed[3], skewed[2]]) is None


def test_a_zone_of_very_many_corners_is_refused_at_once() -> None:
    began = time.monotonic()
    assert str(MAX_CORNERS) in str(zone_trouble([(i, i * i) for i in range(200_000)]))
    assert time.monotonic() - began < 1


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=7), st.integers(0, 6))
def test_neither_start_nor_direction_matter(zone: list[tuple[int, int]], turn: int) -> None:
    turn %= len(zone)
    told = {zone_trouble(one) is None for one in (zone, zone[::-1], zone[turn:] + zone[:turn])}
    assert len(told) == 1


def test_fractions_among_pixels_are_seen() -> None:
    assert mixes_units([(0, 0), (0.5, 0), (100, 200)])
    assert not mixes_units([(0, 0), (1, 0), (100, 200)])
    assert not mixes_units([(0, 0), (0.25, 1), (1, 1)])
