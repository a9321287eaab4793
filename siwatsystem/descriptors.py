"""How many files, sockets among them, this process may have open."""

import logging
import resource

from siwatsystem.config import Settings

log = logging.getLogger(__name__)

PER_CAMERA = 4
"""A connection for pictures, one for control, and as much again while it is opened anew."""
OTHERS = 1024 + 512
"""HTTP connections beside WebSockets (see `server`), databases, files, libraries."""


def allow(settings: Settings) -> None:
    """Raise the soft limit to what may be needed; warn where the hard limit is below it.

    A service manager's usual 1024 would be used up by connections that say nothing: nobody could connect
    any more, and no camera could be opened, without a word.
    """
    needed = PER_CAMERA * settings.max_streams + settings.websocket.max_connections + OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _least(soft) >= needed:
        return
    allowed = min(needed, _least(hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        log.warning(
            "only %d files can be open (ulimit -n), and the settings allow what needs %d", allowed, needed
        )


def _least(limit: int) -> int:
    return 1 << 30 if limit == resource.RLIM_INFINITY else limit
