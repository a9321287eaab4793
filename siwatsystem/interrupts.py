"""Ctrl-C and SIGTERM for commands that end at once, whatever runs just then, without unwinding it."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any, NoReturn

BOTH = signal.SIGINT, signal.SIGTERM
FIRST = 128
"""What a shell adds to a signal's number for the exit status: 130 for Ctrl-C, 143 for SIGTERM."""


_before: dict[int, Any] = {}
"""What each did before `begin`."""


def begin() -> None:
    """While the process starts, both end it with one line: a traceback of imports helps nobody. One that is
    ignored, as Ctrl-C is in what a script runs in the background, stays so."""
    for number in BOTH:
        if signal.getsignal(number) is not signal.SIG_IGN:
            _before[number] = signal.signal(number, _leave)


def started() -> None:
    """What `begin` did is over, where it was called."""
    while _before:
        signal.signal(*_before.popitem())


def _leave(number: int, _: FrameType | None) -> None:
    leave("interrupted", FIRST + number)


def leave(message: str, status: int) -> NoReturn:
    """End the process at once, with one line on stderr."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(2, f"siwat: {message}\n".encode(errors="replace"))
    os._exit(status)


@contextlib.contextmanager
def answered(finish: Callable[[], str] = lambda: "interrupted") -> Generator[None]:
    """Ctrl-C and SIGTERM in the block end the process with what `finish` says; a second one at once.

    `finish` is called in the main thread; where its event loop runs, as one of the loop's callbacks, so that
    it comes between two steps of what runs there and may use what they use. In other threads nothing changes.
    """
    import asyncio  # here: `begin` comes before everything that takes time to import

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_asked = False

    def end(status: int) -> None:
        message = "interrupted"
        try:
            message = finish()
        except Exception as error:
            message = f"interrupted; what was found so far could not be written: {error}"
        finally:
            leave(message, status)

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal is_asked
        if is_asked:
            _leave(number, frame)
        is_asked = True
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            end(FIRST + number)
        else:
            loop.call_soon_threadsafe(end, FIRST + number)

    wanted = [one for one in BOTH if signal.getsignal(one) is not signal.SIG_IGN]
    before = {one: signal.signal(one, ask) for one in wanted}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
