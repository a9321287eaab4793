"""Who waits for a certain message."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from siwatsystem.client.errors import ClientError
from siwatsystem.client.reading import Received

T = TypeVar("T")
Look = Callable[[Received], T | None]
"""What a message means to who waits: None, nothing. May raise a ClientError, which ends the wait."""


class Watchers:
    """Looks at each message, in the order in which they began to wait."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[Any], tuple[Look[Any], bool]] = {}

    @contextmanager
    def watch(self, look: Look[T], *, survives: bool = True) -> Generator[asyncio.Future[T]]:
        """What `look` makes of a message that comes while the block runs; `survives` a lost connection."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[future] = look, survives
        try:
            yield future
        finally:
            del self._waiting[future]
            future.cancel()

    def show(self, message: Received) -> None:
        for future, (look, _) in list(self._waiting.items()):
            if future.done():
                continue
            try:
                found = look(message)
            except ClientError as error:
                future.set_exception(error)
            else:
                if found is not None:
                    future.set_result(found)

    def end(self, error: ClientError) -> None:
        """No connection comes any more: for all."""
        for future in self._waiting:
            if not future.done():
                future.set_exception(error)

    def lost(self, error: ClientError) -> None:
        """The connection has ended: for those whose answer can no longer come."""
        for future, (_, survives) in self._waiting.items():
            if not survives and not future.done():
                future.set_exception(error)
