"""Reads ahead in a thread of its own, so that decoding and inference overlap."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from queue import Full, Queue
from typing import Generic, TypeVar

T = TypeVar("T")

AHEAD = 4
"""Frames that wait; each may be 25 MB."""
_LOOK_SEC = 0.1


@dataclass(frozen=True)
class _End:
    error: Exception | None = None


class _Reading(Generic[T]):
    def __init__(self, items: Iterable[T], most: int) -> None:
        self._items = items
        self._queue: Queue[T | _End] = Queue(most)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while not isinstance(item := self._queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _read(self) -> None:
        iterator = iter(self._items)
        try:
            for item in iterator:
                if not self._put(item):
                    break
            else:
                self._put(_End())
        except Exception as error:
            # Raised where the items are taken: nobody looks at this thread.
            self._put(_End(error))
        finally:
            close: Callable[[], None] | None = getattr(iterator, "close", None)
            if close is not None:
                close()

    def _put(self, item: T | _End) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_LOOK_SEC)
            except Full:
                continue
            return True
        return False


def ahead(items: Iterable[T], most: int = AHEAD) -> Generator[T]:
    """The same items, read up to `most` ahead by another thread; errors are raised in their place.

    Its thread has ended, and `items` are closed, when the iteration ends or is left.
    """
    reading = _Reading(items, most)
    try:
        yield from reading
    finally:
        reading.close()
