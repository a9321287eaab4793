"""Waits between two attempts."""

import pytest

from siwatsystem.streams.backoff import retry_delay
from tests.cameras import camera_settings


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 5.0), (6, 5.0), (10_000, 5.0)]
)
def test_the_wait_doubles_up_to_the_cap(failures: int, longest: float) -> None:
    settings = camera_settings(streams={"first_retry_sec": 0.5}, reconnect_interval_sec=60.0)
    assert retry_delay(failures, settings, lambda _low, high: high) == longest


def test_the_interval_of_the_settings_is_a_cap_too() -> None:
    settings = camera_settings(streams={"first_retry_sec": 0.5}, reconnect_interval_sec=0.7)
    assert retry_delay(9, settings, lambda _low, high: high) == 0.7


def test_no_wait_is_none_at_all() -> None:
    assert retry_delay(1, camera_settings(), lambda low, _high: low) > 0
