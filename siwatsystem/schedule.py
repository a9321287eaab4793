"""Whose frame is analysed when, and whose first. Pure: `now` is an argument, in seconds.

Every loop has a `Turn`. Its slots lie on a grid of its interval; a frame that arrives near a slot asks
for it (`ask`), and a free thread takes whose deadline is the earliest (`take`): an interval after it
was taken last. So of turns that all want more than there is, each is taken as often as the others, and
the one that was passed over goes first the next time.

A turn asks once and is taken once at a time. A slot that comes while the one before still waits takes
its place, and one is counted as dropped: nothing queues up.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass

GOLDEN = 0.6180339887498949
"""Multiples of it, modulo 1, lie far from each other, however many there are."""
GAP_WEIGHT = 0.2
"""What the newest gap between two frames counts in the running mean of them."""
STUCK_SEC = 5.0
"""Work that takes longer than this does not count as one of the threads any more."""


@dataclass(eq=False, slots=True)
class Turn:
    """One loop's place in the schedule. `work` is what a thread does for it, once each time.

    Turns of a `group` may hang together (they share a pipeline), and never hold all threads.
    """

    group: Hashable
    work: Callable[[], object]
    interval: float
    number: int
    once: bool = False
    """Whether it is taken once, and gone then."""
    due: float = -math.inf
    """The next slot."""
    opens_at: float = -math.inf
    """From when on a frame is near enough to that slot."""
    gap: float = 0.0
    """Mean of the seconds between two frames, as it was lately; at most the interval."""
    seen_at: float = math.inf
    """When the newest frame arrived."""
    unseen: bool = False
    """Whether a frame came too early for the next slot."""
    asks: bool = False
    held: int = 0
    """2 while it is under way, 1 once its thread is free or what came of it is handed out, then 0."""
    gone: bool = False
    taken_at: float = -math.inf
    dropped: int = 0
    """Slots whose frame gave way to that of a later one."""

    def frame(self, now: float) -> bool:
        """A frame has arrived. Returns whether it is near enough to a slot to `ask`.

        The one method that is called without the lock that the others need, by the one thread that
        brings frames: most frames are near no slot, and cost nothing else.
        """
        if now > self.seen_at:
            self.gap += GAP_WEIGHT * (min(now - self.seen_at, self.interval) - self.gap)
        self.seen_at = now
        if now >= self.opens_at:
            return True
        self.unseen = True
        return False

    def overdue(self, now: float) -> bool:
        """Whether a frame that came too early is to be taken after all: no other came near the slot."""
        return self.unseen and not self.asks and now > self.due + self.gap

    def advance(self, now: float) -> None:
        """A frame at `now` has the slot `due`: on to the next.

        Where frames come in a rhythm of their own they miss the slots by as much as their gap. The
        next slot stays where it is then, or the mean rate would sink. After a longer pause the slots
        that have passed are left out, and so is one that would follow at once.
        """
        if self.due == -math.inf:
            phase = self.number * GOLDEN % 1.0 * self.interval
            self.due = phase + math.floor((now - phase) / self.interval) * self.interval
        late = now - self.due
        apart = 0.0 if late <= 1.5 * self.gap else self.interval / 4
        self.due += (max(0, math.floor((late + apart) / self.interval)) + 1) * self.interval
        self.opens_at = self.due - self.gap / 2
        self.unseen = False


class Schedule:
    """All turns, of which `threads` may be under way at a time."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._numbers = 0
        self._turns: Counter[Hashable] = Counter()
        """How many turns a group has."""
        self._ready: dict[Hashable, list[tuple[float, int, Turn]]] = {}
        """What asks and is not under way, by group: a heap by deadline."""
        self._running: dict[Turn, float] = {}
        """What is under way, since when."""
        self._running_of: Counter[Hashable] = Counter()
        self._abandoned: set[Turn] = set()
        """What was under way when it was given up, and still holds its thread."""
        self._closed = False

    def join(self, group: Hashable, work: Callable[[], object], interval: float) -> Turn:
        """A turn for a new loop; its first frame is near enough whenever it comes."""
        self._numbers += 1
        self._turns[group] += 1
        return Turn(group, work, interval, self._numbers)

    def leave(self, turn: Turn) -> None:
        """The loop has ended: its turn is not taken any more."""
        if not turn.gone:
            turn.gone = True
            if not turn.once:
                _less(self._turns, turn.group)

    def do_once(self, group: Hashable, work: Callable[[], object], now: float) -> None:
        """Have `work` done once, when its turn comes; also after `close`."""
        self._numbers += 1
        self._push(Turn(group, work, 0.0, self._numbers, once=True), now)

    def ask(self, turn: Turn, now: float) -> bool:
        """A frame at `now` asks for the slot that it is near to. False: it is near none after all."""
        if turn.gone or now < turn.opens_at:
            return False
        self._ask(turn, now)
        return True

    def ask_overdue(self, turn: Turn, now: float) -> bool:
        """The same for a frame that came too early, once that slot is over."""
        if turn.gone or not turn.overdue(now):
            return False
        self._ask(turn, now)
        return True

    def take(self, now: float) -> Turn | None:
        """The turn with the earliest deadline that may be taken, if any: it is under way from now on."""
        chosen = self._earliest()
        if chosen is None:
            return None
        turn = heapq.heappop(chosen)[2]
        turn.asks, turn.held, turn.taken_at = False, 2, now
        self._running[turn] = now
        self._running_of[turn.group] += 1
        return turn

    def abandon(self, turn: Turn) -> None:
        """The loop goes on with another turn: this one may hold its thread for ever, which is made up for,
        and its group may have another."""
        self.leave(turn)
        if turn in self._running:
            del self._running[turn]
            _less(self._running_of, turn.group)
            self._abandoned.add(turn)

    def forsaken(self, since: float) -> list[Turn]:
        """What has been under way since then or longer and has no loop (any more) that would give it up."""
        return [turn for turn, taken in self._running.items() if taken <= since and (turn.gone or turn.once)]

    @property
    def abandoned(self) -> int:
        """How many turns were given up and still hold their threads."""
        return len(self._abandoned)

    def left(self, turn: Turn) -> None:
        """The thread that took it is free again; see `rest`."""
        if turn in self._abandoned:
            self._abandoned.discard(turn)
            return
        del self._running[turn]
        _less(self._running_of, turn.group)
        self._let_go(turn)

    def rest(self, turn: Turn, *, idle: bool = False) -> None:
        """What came of it is handed out: it may be taken again. `idle`: there was no new frame, and
        its slot is still to be had."""
        if idle:
            turn.due -= turn.interval
            turn.opens_at = -math.inf
        self._let_go(turn)

    def close(self) -> None:
        """Nothing is taken any more but what is to be done once."""
        self._closed = True

    def threads_wanted(self, now: float) -> int:
        """How many threads there should be: those that are stuck are made up for."""
        stuck = sum(now - since > STUCK_SEC for since in self._running.values())
        return self._threads + len(self._abandoned) + stuck

    @property
    def waits(self) -> bool:
        """Whether `take` would give a turn."""
        return self._earliest() is not None

    def _let_go(self, turn: Turn) -> None:
        turn.held -= 1
        if turn.asks and not turn.held:
            self._push(turn, turn.taken_at + turn.interval)

    def _ask(self, turn: Turn, now: float) -> None:
        turn.advance(now)
        if turn.asks:
            turn.dropped += 1
            return
        turn.asks = True
        if not turn.held:
            self._push(turn, now if turn.taken_at == -math.inf else turn.taken_at + turn.interval)

    def _earliest(self) -> list[tuple[float, int, Turn]] | None:
        """The heap whose first turn is the next to be taken."""
        chosen: list[tuple[float, int, Turn]] | None = None
        for group in list(self._ready):
            heap = self._ready[group]
            while heap and self._is_over(heap[0][2]):
                heapq.heappop(heap)
            if not heap:
                del self._ready[group]
            elif self._running_of[group] < self._most_of(group) and (chosen is None or heap[0] < chosen[0]):
                chosen = heap
        return chosen

    def _push(self, turn: Turn, deadline: float) -> None:
        heapq.heappush(self._ready.setdefault(turn.group, []), (deadline, turn.number, turn))

    def _is_over(self, turn: Turn) -> bool:
        return turn.gone or (self._closed and not turn.once)

    def _most_of(self, group: Hashable) -> int:
        """Threads that a group may have: all while it is alone, else all but one."""
        alone = len(self._turns) <= 1
        return self._threads if alone else max(1, self._threads - 1)


def _less(counts: Counter[Hashable], group: Hashable) -> None:
    counts[group] -= 1
    if not counts[group]:
        del counts[group]
