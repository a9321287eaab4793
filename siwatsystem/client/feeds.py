"""What a program listens to: bounded, so that one that is slow loses the oldest, and no memory grows."""

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Generic, TypeVar, cast

from siwatsystem.client.reading import Received

T = TypeVar("T")


class Feed(AsyncIterator[T], Generic[T]):
    """Messages from the moment it was made, oldest first. Ends when its client is closed.

    `dropped` counts those that had to give way because nobody took them.
    """

    def __init__(self, most: int) -> None:
        self.dropped = 0
        self._most = most
        self._waiting: deque[T] = deque()
        self._wake = asyncio.Event()
        self._ended = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: T) -> None:
        if len(self._waiting) >= self._most:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(item)
        self._wake.set()

    def end(self) -> None:
        """Nothing more comes; what waits is still given."""
        self._ended = True
        self._wake.set()

    def __aiter__(self) -> "Feed[T]":
        return self

    async def __anext__(self) -> T:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()


class Feeds:
    """All feeds of a client. One that its program has let go is forgotten with it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ended = False
        self._open: weakref.WeakKeyDictionary[Feed[Received], Callable[[Received], bool]] = (
            weakref.WeakKeyDictionary()
        )

    def add(self, kinds: tuple[type[T], ...], identifiers: Iterable[str] = ()) -> Feed[T]:
        """A feed of messages of these kinds; with `identifiers`, only of those subscriptions."""
        wanted = frozenset(identifiers)
        feed: Feed[T] = Feed(self._most)

        def fits(message: Received) -> bool:
            about: str | None = getattr(message, "subscription_identifier", None)
            return isinstance(message, kinds) and (not wanted or about in wanted)

        if self._ended:
            feed.end()
        self._open[cast(Feed[Received], feed)] = fits
        return feed

    def put(self, message: Received) -> None:
        for feed, fits in list(self._open.items()):
            if fits(message):
                feed.put(message)

    def end(self) -> None:
        """Of all, and of those that are made from now on."""
        self._ended = True
        for feed in list(self._open):
            feed.end()
