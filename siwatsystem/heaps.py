"""The C library's heaps, which keep what was given back to them. Without glibc nothing of this is done."""

import contextlib
import ctypes

from siwatsystem.cores import usable_cores

_M_ARENA_MAX = -8


def share() -> None:
    """Let threads share as many heaps as there are cores, instead of having one each.

    Every camera has several threads that take and give back whole pictures: with heaps of their own a
    1080p camera held half as much memory again.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, max(2, usable_cores()))


def give_back() -> None:
    """Return to the system what the heaps keep, after something large has gone; takes milliseconds."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
