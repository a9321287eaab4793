"""The slot that holds the newest frame."""

import threading

import numpy as np

from siwatsystem.frames import Frame
from siwatsystem.streams.latest import Latest


def frame(sequence: int) -> Frame:
    return Frame(np.zeros((1, 1, 3), np.uint8), captured_at=0.0, monotonic=0.0, sequence=sequence)


def test_only_the_newest_frame_is_kept() -> None:
    latest = Latest()
    assert latest.get() is None
    one, two = frame(1), frame(2)
    latest.put(one)
    latest.put(two)
    assert latest.get() is two


def test_whoever_waits_gets_the_first_newer_frame_or_none_in_time() -> None:
    latest = Latest()
    latest.put(frame(1))
    assert latest.wait_newer(1, 0.01) is None
    timer = threading.Timer(0.05, latest.put, [frame(2)])
    timer.start()
    found = latest.wait_newer(1, 30)
    timer.join()
    assert found is not None
    assert found.sequence == 2


def test_closing_ends_every_wait() -> None:
    latest = Latest()
    timer = threading.Timer(0.05, latest.close)
    timer.start()
    assert latest.wait_newer(0, 30) is None
    timer.join()
