"""Waits between attempts: exponential with full jitter (M. Brooker, AWS Architecture Blog, 2015)."""

import random
from collections.abc import Callable

from siwatsystem.config import Settings

_LEAST_SEC = 0.05


def retry_delay(
    failures: int, settings: Settings, choose: Callable[[float, float], float] = random.uniform
) -> float:
    """Seconds to wait after that many consecutive failures (at least 1).

    Cameras that failed together come back spread over time, not at once.
    """
    streams = settings.streams
    cap = min(settings.reconnect_interval_sec, streams.reconnect_max_sec)
    doubled = streams.first_retry_sec * 2 ** min(failures - 1, 32)
    return choose(min(_LEAST_SEC, cap), max(min(doubled, cap), _LEAST_SEC))
