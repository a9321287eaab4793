import threading
from collections.abc import Iterator

import pytest

from siwatsystem.analysis.ahead import ahead


def test_it_reads_ahead_but_only_so_far():
    read: list[int] = []
    waiting = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(10):
            read.append(number)
            if number == 4:
                waiting.set()
            yield number

    items = ahead(numbers(), most=3)
    assert next(items) == 0
    # 0 was taken, 1 to 3 wait, 4 was read and finds no place.
    assert waiting.wait(10)
    assert read == [0, 1, 2, 3, 4]
    assert list(items) == list(range(1, 10))


def test_an_error_is_raised_in_its_place():
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    items = ahead(broken())
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)


def test_leaving_it_closes_what_is_read_and_ends_the_thread():
    closed: list[str] = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(threading.current_thread().name)

    items = ahead(endless())
    assert next(items) == 1
    items.close()
    assert closed == ["ahead"]
    assert "ahead" not in [thread.name for thread in threading.enumerate()]
