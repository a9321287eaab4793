"""Who is due when. Setting one costs the logarithm of how many there are."""

import heapq
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=tuple[str | int, ...])


class Deadlines(Generic[Key]):
    """One deadline per key, in seconds."""

    def __init__(self) -> None:
        self._at: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []

    def set(self, key: Key, at: float) -> None:
        self._at[key] = at
        heapq.heappush(self._heap, (at, key))
        if len(self._heap) > 64 + 2 * len(self._at):  # most of it was set anew or cleared since
            self._heap = [(at, key) for key, at in self._at.items()]
            heapq.heapify(self._heap)

    def clear(self, key: Key) -> None:
        self._at.pop(key, None)

    def next(self) -> float | None:
        """When the first one is due."""
        heap = self._heap
        while heap and self._at.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop(self, now: float) -> Key | None:
        """The first one that is due, which is cleared by that; None for none."""
        at = self.next()
        if at is None or at > now:
            return None
        _, key = heapq.heappop(self._heap)
        del self._at[key]
        return key
