"""One task that owns `Control`: events in, effects carried out in order.

Everything here runs on the event loop's thread, but for the transactions: a slow disk holds up commands and
messages, no question. `tell` alone may be called from any thread: launchers do.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from siwatsystem.deepstream.effects import (
    Answer,
    Close,
    Drop,
    Effect,
    LaunchApp,
    Publish,
    Save,
    Send,
    Signal,
    refusal,
)
from siwatsystem.deepstream.events import (
    Command,
    ConnectionLost,
    Event,
    Exited,
    Launch,
    LaunchFailed,
    Push,
    Start,
    TimePassed,
)
from siwatsystem.deepstream.launcher import Launcher
from siwatsystem.deepstream.messages import ServerMessage
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.store import Store

log = logging.getLogger(__name__)

ANSWER_SEC = 60.0
"""For the answer to a command; only a launch takes long."""
READ_TO_END_SEC = 1.0
"""How long an app's end waits for what its connection still brings."""
AGAIN_SEC = 1.0
"""Between two attempts to write what the disk has refused."""
AT_ONCE = 32
"""Events that wait together are dealt with together at most, and written in one transaction."""
MOST_EFFECTS = 1000
"""Of events that are dealt with together, before others get their turn: a request may have 10,000 files."""


class Connections(Protocol):
    """Whoever holds the apps' connections. Neither call waits."""

    def send(self, number: int, message: ServerMessage) -> None: ...

    def close(self, number: int, code: int, reason: str) -> None: ...


@dataclass(slots=True)
class _Told:
    event: Event
    done: asyncio.Future[None] | None = None


class Driver:
    """`now`: the wall clock at start plus what a monotonic clock says since. `over` is told the instance id
    of each app that has ended, or could not be launched."""

    def __init__(
        self,
        control: Control,
        store: Store,
        launcher: Launcher,
        connections: Connections,
        started: float,
        over: Callable[[str], object] = lambda instance_id: None,
    ) -> None:
        self.control = control
        self._store = store
        self._launcher = launcher
        self._connections = connections
        self._over = over
        self._started = started - time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[_Told] = asyncio.Queue()
        self._waiting: dict[str, list[asyncio.Future[Answer]]] = {}
        self._exits: dict[int, list[Exited]] = {}
        """By connection: ends of apps that wait for what was said on it."""
        self._changed = asyncio.Event()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="control-store")
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = False

    @property
    def now(self) -> float:
        return self._started + time.monotonic()

    def start(self) -> None:
        self._tasks = [
            self._loop.create_task(self._run(), name="control"),
            self._loop.create_task(self._write_again(), name="control-store"),
        ]

    async def stop(self) -> None:
        """Once what was told has been dealt with; nothing may be told any more."""
        if self._tasks:
            await self._queue.join()
            self._ended = True
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._loop.run_in_executor(self._writer, self._store.close)
        self._writer.shutdown(wait=False)
        self._wake()

    # --- news and commands --------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """From any thread; never waits. Ignored once the event loop has ended."""
        try:
            self._loop.call_soon_threadsafe(self._told, event)
        except RuntimeError:
            log.debug("told after the end: %r", event)

    async def handle(self, event: Event) -> None:
        """Until it has been dealt with: whoever tells much is slowed down."""
        if self._ended:
            return
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.put_nowait(_Told(event, done))
        await done

    async def ask(self, command: Command, within: float = ANSWER_SEC) -> Answer:
        """The command's answer; 503 where none comes in time, and to new work that could not be kept."""
        problem = self._store.problem
        new = isinstance(command, Launch | Start | Push) and not self.control.knows(command.request_id)
        if problem is not None and new:
            return refusal(command.request_id, 503, problem)
        answer: asyncio.Future[Answer] = self._loop.create_future()
        waiting = self._waiting.setdefault(command.request_id, [])
        waiting.append(answer)
        try:
            await self.handle(command)
            async with asyncio.timeout(within):
                return await answer
        except TimeoutError:
            return refusal(command.request_id, 503, f"no answer within {within:g} s; it may still come")
        finally:
            waiting.remove(answer)
            if not waiting:
                self._waiting.pop(command.request_id, None)

    async def changed(self, within: float) -> bool:
        """Whether something has changed within so many seconds from now."""
        event = self._changed
        try:
            async with asyncio.timeout(within):
                await event.wait()
        except TimeoutError:
            return False
        return True

    def _told(self, event: Event) -> None:
        self._queue.put_nowait(_Told(event))

    # --- the task -----------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            batch = [await self._next()]
            try:
                decided = [self._decided(batch[0].event)]
                count = len(decided[0])
                while count < MOST_EFFECTS and len(batch) < AT_ONCE and not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                    decided.append(self._decided(batch[-1].event))
                    count += len(decided[-1])
                await self._carry_out_all(batch, decided)
            finally:
                for told in batch:
                    self._queue.task_done()
                    if told.done is not None and not told.done.done():
                        told.done.set_result(None)

    async def _write_again(self) -> None:
        """What the disk has refused, though nothing else happens."""
        while True:
            await asyncio.sleep(AGAIN_SEC)
            if self._store.problem is not None:
                await self._loop.run_in_executor(self._writer, self._store.save, ())

    async def _next(self) -> _Told:
        due = self.control.next_due()
        if due is not None and due <= self.now:
            self._queue.put_nowait(_Told(TimePassed()))
        elif self._queue.empty():
            try:
                async with asyncio.timeout(None if due is None else due - self.now):
                    return await self._queue.get()
            except TimeoutError:
                self._queue.put_nowait(_Told(TimePassed()))
        return await self._queue.get()

    async def _carry_out_all(self, batch: list[_Told], decided: list[list[Effect]]) -> None:
        """What the disk must know first, for all of them at once; then what is to be done about each."""
        kept = [each for effects in decided for each in effects if isinstance(each, Save | Drop)]
        try:
            if kept:
                await self._loop.run_in_executor(self._writer, self._store.save, kept)
        except Exception:  # no failure of the disk, which `save` tells: something that is no record
            for told in batch:
                self._fail(told.event)
            return
        for told, effects in zip(batch, decided, strict=True):
            event = told.event
            try:
                self._carry_out(effects)
            except Exception:
                self._fail(event)
            if isinstance(event, ConnectionLost):
                for late in self._exits.pop(event.connection, ()):
                    self._told(late)

    def _decided(self, event: Event) -> list[Effect]:
        if isinstance(event, Exited) and self._held_back(event):
            return []
        try:
            effects = self.control.handle(event, self.now)
            if isinstance(event, Exited | LaunchFailed):
                app = self.control.app(event.instance_id)
                if app is None or app.run == event.run:  # of an earlier run it is old news
                    self._over(event.instance_id)
        except Exception:
            self._fail(event)
            return []
        return effects

    def _held_back(self, event: Exited) -> bool:
        """Files that the app told as done just before its end would else be done again."""
        app = self.control.app(event.instance_id)
        if app is None or app.connection is None or app.run != event.run:
            return False
        connection = app.connection
        waiting = self._exits.setdefault(connection, [])
        if event in waiting:  # it waited long enough
            waiting.remove(event)
            if not waiting:  # of a connection that the core closes no end is told
                del self._exits[connection]
            return False
        waiting.append(event)
        self._loop.call_later(READ_TO_END_SEC, self._let_go, connection, event)
        return True

    def _let_go(self, connection: int, event: Exited) -> None:
        if event in self._exits.get(connection, ()):
            self._told(event)

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._connections.send(effect.connection, effect.message)
                case Close():
                    self._connections.close(effect.connection, effect.code, effect.reason)
                case Answer():
                    self._answer(effect)
                case LaunchApp():
                    self._launcher.launch(effect)
                case Signal():
                    self._launcher.signal(effect)
                case Publish():
                    self._wake()
                case Drop(kind="app"):
                    self._launcher.forget(effect.key)
                    self._over(effect.key)
                case Save() | Drop():
                    pass

    def _answer(self, answer: Answer) -> None:
        for waiting in self._waiting.get(answer.request_id, ()):
            if not waiting.done():
                waiting.set_result(answer)

    def _fail(self, event: Event) -> None:
        """From within the handling of what went wrong."""
        log.exception("an event was not dealt with: %r", type(event).__name__)
        request_id: str | None = getattr(event, "request_id", None)
        if request_id is not None:
            self._answer(refusal(request_id, 500, "the server has failed at it; its log says why"))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
