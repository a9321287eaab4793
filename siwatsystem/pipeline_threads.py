"""The threads that pipelines run in: whoever is free takes the next turn of the schedule.

Frames reach a thread straight from the one that read them, without a detour through the event loop.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Hashable

from siwatsystem.endings import ended_within
from siwatsystem.schedule import Schedule, Turn
from siwatsystem.supervision import MOST_STUCK

log = logging.getLogger(__name__)

LOOK_SEC = 0.1
"""How often it is looked for frames that came too early for their slot and were followed by none."""


class PipelineThreads:
    """Up to `count` threads, started as they are needed. Every method may be called from any thread."""

    def __init__(self, count: int, stuck_sec: float = math.inf) -> None:
        """What is under way for longer than `stuck_sec` is stuck: its loop is to `abandon` it; where it has
        none any more, that is done here."""
        self._stuck_sec = stuck_sec
        self._most_abandoned = MOST_STUCK * count
        self._changed = threading.Condition()
        self._schedule = Schedule(count)
        self._turns: set[Turn] = set()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._number = 0
        self._closed = threading.Event()
        self._clock: threading.Thread | None = None

    def join(self, group: Hashable, work: Callable[[], object], interval_sec: float) -> Turn:
        """A turn for a loop; `work` is called in a thread, and after it the turn must `rest`."""
        with self._changed:
            turn = self._schedule.join(group, work, interval_sec)
            self._turns.add(turn)
            return turn

    def leave(self, turn: Turn) -> None:
        """The loop has ended; what is under way for it comes to its end."""
        with self._changed:
            self._schedule.leave(turn)
            self._turns.discard(turn)

    def load(self) -> tuple[int, int]:
        """Threads at work, and loops whose newest frame waits for one."""
        with self._changed:
            waiting = sum(turn.asks for turn in self._turns)
            return len(self._threads) - self._idle, waiting

    def may_abandon(self) -> bool:
        """Whether not too many hang already, each with its thread and whatever that holds."""
        with self._changed:
            return self._schedule.abandoned < self._most_abandoned

    def abandon(self, turn: Turn) -> None:
        """The loop has given up what is under way for it, and will join again."""
        with self._changed:
            self._schedule.abandon(turn)
            self._turns.discard(turn)
            self._wake(time.monotonic())

    def under_way_since(self, turn: Turn) -> float | None:
        """Since when (`time.monotonic()`) a thread has been at work for it; None while none is."""
        with self._changed:
            return turn.taken_at if turn.held == 2 else None

    def ask(self, turn: Turn) -> bool:
        """A frame is near enough to the turn's slot: have it taken. False where it is not, after all."""
        with self._changed:
            now = time.monotonic()
            asked = self._schedule.ask(turn, now)
            if asked:
                self._wake(now)
            return asked

    def rest(self, turn: Turn, *, idle: bool = False) -> None:
        """What came of a turn is handed out (`idle`: there was nothing new): it may be taken again."""
        with self._changed:
            self._schedule.rest(turn, idle=idle)
            if turn.asks:
                self._wake(time.monotonic())

    def do_once(self, group: Hashable, work: Callable[[], object]) -> None:
        """Have a thread do `work`."""
        with self._changed:
            now = time.monotonic()
            self._schedule.do_once(group, work, now)
            self._wake(now)

    def close(self) -> None:
        """Take no more frames, do what is to be done once, and wait for all threads."""
        self._closed.set()
        with self._changed:
            self._schedule.close()
            self._idle = 0
            self._changed.notify_all()
            threads = list(self._threads)
        if self._clock is not None:
            self._clock.join()
        for thread in threads:
            thread.join()

    async def closed_within(self, limit: float) -> bool:
        """`close`, but wait at most `limit` seconds. Returns whether all threads have ended."""
        return await ended_within(self.close, limit, "close-pipelines")

    def _wake(self, now: float) -> None:
        """Have somebody take what asks; called with the lock held."""
        if self._clock is None and not self._closed.is_set():
            self._clock = _started(threading.Thread(target=self._look, name="pipeline-clock", daemon=True))
        if not self._schedule.waits:
            return
        if self._idle:
            self._idle -= 1  # here, so that whoever asks next does not count on the same one
            self._changed.notify()
            return
        if len(self._threads) >= self._schedule.threads_wanted(now):
            return
        self._number += 1
        thread = _started(threading.Thread(target=self._run, name=f"pipeline-{self._number}", daemon=True))
        if thread is not None:
            self._threads.add(thread)

    def _run(self) -> None:
        turn: Turn | None = None
        while True:
            with self._changed:
                if turn is not None:
                    self._schedule.left(turn)
                turn = self._next()
                if turn is None:
                    self._threads.discard(threading.current_thread())
                    return
            try:
                turn.work()
            except Exception:
                # A thread that ended here would be missing for good.
                log.exception("the work of a pipeline's thread failed")

    def _next(self) -> Turn | None:
        """Wait for the next turn, with the lock held. None: this thread is to end."""
        while True:
            now = time.monotonic()
            if len(self._threads) > self._schedule.threads_wanted(now):
                self._pass_on()
                return None
            turn = self._schedule.take(now)
            if turn is not None or self._closed.is_set():
                return turn
            self._idle += 1
            self._changed.wait()

    def _pass_on(self) -> None:
        """This thread was woken for a turn that it will not take: wake another."""
        if self._idle and self._schedule.waits:
            self._idle -= 1
            self._changed.notify()

    def _look(self) -> None:
        """See to the frames that came too early and were followed by none, and to those that hang with
        nobody else to give them up."""
        while not self._closed.wait(LOOK_SEC):
            now = time.monotonic()
            with self._changed:
                for turn in self._turns:
                    if self._schedule.ask_overdue(turn, now):
                        self._wake(now)
                for turn in self._schedule.forsaken(now - self._stuck_sec):
                    if self._schedule.abandoned < self._most_abandoned:
                        log.warning("a frame of what has ended is given up after %.0f s", self._stuck_sec)
                        self._schedule.abandon(turn)
                        self._wake(now)


def _started(thread: threading.Thread) -> threading.Thread | None:
    """`thread`, started; None where the system gives no more threads: the next frame tries again."""
    try:
        thread.start()
    except RuntimeError as error:
        log.warning("a thread for pipelines could not be started: %s", error)
        return None
    return thread
