"""Python's garbage collector, kept from looking through all that is known in the middle of the work.

It does so whenever there is a quarter more than the last time: with 100,000 files that takes 100 ms, in which
nobody is answered. Objects that die young are collected as ever.
"""

import asyncio
import gc
from typing import NoReturn

EVERY_SEC = 600.0
NEVER = 1_000_000
"""Times that the young objects are collected before the old ones are."""


async def seldom(every_sec: float = EVERY_SEC) -> NoReturn:
    """Until cancelled: look through old objects by the clock only."""
    before = gc.get_threshold()
    gc.set_threshold(before[0], before[1], NEVER)
    try:
        while True:
            await asyncio.sleep(every_sec)
            gc.collect()
    finally:
        gc.set_threshold(*before)
