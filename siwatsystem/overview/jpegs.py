"""JPEGs of a frame, each made once however many ask for it."""

import asyncio
import logging
from collections.abc import Callable

from siwatsystem.frames import Frame

log = logging.getLogger(__name__)


async def jpeg_once(frame: Frame, key: object, make: Callable[[], bytes]) -> bytes:
    """What `make` gave on another thread for whoever asked first for `key` of this frame. Raises ValueError
    for a picture that cannot be encoded."""

    def begin() -> asyncio.Future[bytes]:
        return asyncio.get_running_loop().run_in_executor(None, guarded, make)

    made = frame.once(key, begin)
    # The future is the frame's, not this request's: a client that leaves must not end it for the others.
    return made.result() if made.done() else await asyncio.shield(made)


def guarded(make: Callable[[], bytes]) -> bytes:
    """What `make` gives. Raises ValueError, whatever a library makes of a picture that it cannot take."""
    try:
        return make()
    except ValueError:
        raise
    except Exception as error:
        log.exception("a picture could not be encoded")
        raise ValueError(f"the picture could not be encoded ({type(error).__name__})") from error
