"""Zones."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siwatsystem.detections import Detection
from siwatsystem.pipeline.zones import contains, in_pixels, stands_in

SQUARE = ((10.0, 10.0), (30.0, 10.0), (30.0, 30.0), (10.0, 30.0))
ELL = ((0.0, 0.0), (40.0, 0.0), (40.0, 10.0), (10.0, 10.0), (10.0, 40.0), (0.0, 40.0))


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        ((20, 20), True),
        ((10, 20), True),
        ((30, 30), True),
        ((9.9, 20), False),
        ((20, 30.1), False),
        ((5, 10), False),
    ],
)
def test_a_point_is_inside_or_on_the_edge(point: tuple[float, float], inside: bool) -> None:
    assert contains(SQUARE, *point) is inside
    assert contains(SQUARE[::-1], *point) is inside


def test_a_zone_may_have_a_notch() -> None:
    assert contains(ELL, 5, 35)
    assert contains(ELL, 35, 5)
    assert not contains(ELL, 20, 20)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=3, max_size=3),
    st.integers(0, 50),
    st.integers(0, 50),
)
def test_it_agrees_with_opencv(corners: list[tuple[int, int]], x: int, y: int) -> None:
    expected = cv2.pointPolygonTest(np.array(corners, np.float32), (float(x), float(y)), False) >= 0
    assert contains(corners, x, y) == expected


def test_the_bottom_centre_of_a_box_counts() -> None:
    assert stands_in(Detection("Car", 0.9, (15, 0, 25, 20)), SQUARE)
    assert not stands_in(Detection("Car", 0.9, (15, 12, 25, 40)), SQUARE)


def test_fractions_become_pixels_and_pixels_stay() -> None:
    assert in_pixels([(0, 0), (0.5, 0), (1, 1)], 200, 100) == ((0, 0), (100, 0), (200, 100))
    assert in_pixels([(0, 0), (2, 0), (1, 1)], 200, 100) == ((0, 0), (2, 0), (1, 1))
