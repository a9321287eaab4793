"""`Client`: a backend's side of the protocol, over as many connections as it takes."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from siwatsystem.client import arguments, images, wanted
from siwatsystem.client.complaints import Complaints
from siwatsystem.client.connection import connected
from siwatsystem.client.errors import Disconnected, NoAnswer, PatchRefused, Refused
from siwatsystem.client.feeds import Feed, Feeds
from siwatsystem.client.link import Link
from siwatsystem.client.patches import OnPatch, PatchAnswers, Turns
from siwatsystem.client.reading import Received, Unreadable, WorkerError
from siwatsystem.client.wanted import Wanted
from siwatsystem.client.watchers import Look
from siwatsystem.messages import (
    Command,
    ImageDetection,
    ModelId,
    NamedPayload,
    PatchSessionOut,
    PatchSessionResult,
    RequestState,
    SessionId,
    StateReport,
    Subscribe,
    Unsubscribe,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

REFUSALS = frozenset({"invalid_json", "invalid_message", "unknown_type", "max_streams_reached", "overloaded"})
"""Codes that say that a `subscribe` was not taken; others tell what fails behind one that was."""


class Client:
    """A worker, as a backend sees it.

        async with Client("ws://127.0.0.1:8000/", token="…") as worker:
            detections = worker.detections()
            await worker.subscribe(
                "display-001;cam-001",
                rtsp_url="rtsp://192.168.1.20/stream1",
                model_url="https://models.example/cars.mpta",
                model_name="Cars",
                model_id=101,
            )
            async for seen in detections:
                print(seen.timestamp, seen.data.detection)

    Entering waits for the first connection. One that is lost is made again, with pauses that grow, and
    everything that was subscribed, and every session, is said to the new one. All methods belong to the
    event loop in which it was entered.

    `on_patch` is called with each `patchSession`; when it returns, or its coroutine ends, the worker is told
    that the patch is taken, and when it raises, that it is not. Without one every patch is taken.
    `connect_timeout` bounds entering, `timeout` every answer; `silence` is how long a worker, which reports
    every two seconds, may say nothing before its connection is given up; `backlog` is how many messages a
    feed keeps for who does not take them. All times are seconds. Raises ValueError for what is no
    address, and for a token with a line break, which is not shown. Once closed it stays closed.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        on_patch: OnPatch | None = None,
        connect_timeout: float = 10.0,
        timeout: float = 10.0,
        silence: float = 10.0,
        backlog: int = 1000,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.url = arguments.address(url)
        self.state: StateReport | None = None
        """The newest report; of the last connection, while there is none."""
        self._token = arguments.secret(token)
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._context = context
        self._wanted = Wanted()
        self._feeds = Feeds(backlog)
        self._link = Link(
            lambda: connected(url, token=token, timeout=connect_timeout, context=context),
            silence,
            self._wanted.commands,
            self._take,
        )
        self._patches = PatchAnswers(on_patch, self._link.sender)
        self._turns = Turns()
        self._shown = arguments.shown(url)
        self._complaints = Complaints(self._shown)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Raises Unauthorized at once, and Unreachable after `connect_timeout` without a connection."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._link.run(), name=f"worker {self._shown}")]
        self._tasks.append(loop.create_task(self._patches.run(), name=f"patches of {self._shown}"))
        try:
            await self.until_connected(self._connect_timeout)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the worker, which ends what was subscribed after its grace; every feed ends. Who still waits,
        and who asks for anything afterwards, gets a ClientError at once."""
        self._link.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._feeds.end()

    @property
    def is_connected(self) -> bool:
        return self._link.is_open

    @property
    def losses(self) -> int:
        """How many connections were lost so far."""
        return self._link.losses

    async def until_connected(self, timeout: float | None = None) -> None:
        """Wait for a connection. Raises Unauthorized, and Unreachable after `timeout` seconds."""
        await self._link.until_open(self._timeout if timeout is None else timeout)

    def _take(self, message: Received) -> None:
        if isinstance(message, StateReport):
            self.state = message
            for identifier in self._wanted.hear(message):
                log.warning("%s: another connection took over %s", self._shown, identifier)
        elif isinstance(message, WorkerError):
            self._wanted.fails(message)
        elif isinstance(message, PatchSessionOut):
            self._patches.put(message)
        elif isinstance(message, Unreadable):
            self._complaints.add(message.reason)
        self._feeds.put(message)

    async def _asked(
        self,
        command: Command,
        look: Look[T],
        what: str,
        *,
        then: Sequence[Command] = (),
        survives: bool = True,
        timeout: float | None = None,
    ) -> T:
        seconds = self._timeout if timeout is None else timeout
        return await self._link.ask((command, *then), look, what, survives=survives, timeout=seconds)

    # --- commands

    async def subscribe(
        self,
        identifier: str,
        *,
        model_url: str,
        model_name: str,
        model_id: ModelId,
        rtsp_url: str | None = None,
        snapshot_url: str | None = None,
        snapshot_interval: int | None = None,
        crop: tuple[int, int, int, int] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Subscribe `display;camera`, or replace what is subscribed under it; returns when the worker has it.

        `snapshot_interval` is in milliseconds, `crop` x1, y1, x2, y2 in pixels. That it is there does not
        mean that pictures come: see `until_online`. Raises ValueError for wrong arguments, NoAnswer, after
        which it stays asked for until `unsubscribe`, and Refused, which leaves what was there before.

            await worker.subscribe(
                "display-001;cam-002",
                snapshot_url="http://192.168.1.20/snapshot.jpg",
                snapshot_interval=500,
                model_url="https://models.example/cars.mpta",
                model_name="Cars",
                model_id=101,
                crop=(100, 200, 1180, 720),
            )
        """
        command = wanted.subscribe(
            {
                "subscriptionIdentifier": identifier,
                "rtspUrl": rtsp_url,
                "snapshotUrl": snapshot_url,
                "snapshotInterval": snapshot_interval,
                "modelUrl": model_url,
                "modelName": model_name,
                "modelId": model_id,
                **wanted.edges(crop),
            }
        )
        before = self._wanted.put(command)
        # Reports name no addresses: one that was on its way already looks like the one that answers.
        reports = 2 if before.looks_like(command) else 1

        def look(message: Received) -> bool | None:
            nonlocal reports
            if isinstance(message, WorkerError) and _refuses(message, identifier):
                raise Refused(message)
            if isinstance(message, StateReport) and self._lists(command):
                reports -= 1
                return reports <= 0 or None
            return None

        what, then = f"{identifier}: not in a state report", [RequestState()] * (reports - 1)
        try:
            await self._asked(command, look, what, then=then, timeout=timeout)
        except Refused:
            self._wanted.undo(command, before)
            raise

    def _lists(self, command: Subscribe) -> bool:
        """Whether the newest report does: it is taken before who waits looks at it."""
        found = self._wanted.entries.get(command.payload.subscription_identifier)
        return wanted.acknowledges(found, command)

    async def unsubscribe(self, identifier: str, *, timeout: float | None = None) -> None:
        """End a subscription; returns when the worker no longer lists it, another connection having taken it
        over for instance. Raises ValueError for one that this client did not subscribe, and NoAnswer."""
        if identifier not in self._wanted.subscriptions:
            raise ValueError(f"{identifier} is not subscribed")
        command = Unsubscribe(payload=NamedPayload.model_validate({"subscriptionIdentifier": identifier}))

        def look(message: Received) -> bool | None:
            gone = isinstance(message, StateReport) and identifier not in self._wanted.entries
            return True if gone else None

        self._wanted.drop(identifier)
        await self._asked(command, look, f"{identifier}: still in the state reports", timeout=timeout)

    async def until_online(self, identifier: str, *, timeout: float = 60.0) -> None:
        """Wait until frames come and the pipeline is loaded; the first time, that takes a download.
        Raises NoAnswer after `timeout` seconds, with what the worker says that fails: also what it said
        before this call."""
        missing = False

        def look(message: Received) -> bool | None:
            nonlocal missing
            if isinstance(message, StateReport):
                found = self._wanted.entries.get(identifier)
                missing = found is None
                return True if found is not None and found.online else None
            return None

        try:
            await self._asked(RequestState(), look, f"{identifier}: not online", timeout=timeout)
        except NoAnswer as late:
            why = "; ".join(self._wanted.failures.of(identifier))
            if missing and not why:
                mine = identifier in self._wanted.subscriptions
                owner = "another connection took it over?" if mine else "it was not subscribed here"
                why = f"not in the worker's report: {owner}"
            raise NoAnswer(f"{late}: {why}" if why else str(late)) from None

    async def request_state(self, *, timeout: float | None = None) -> StateReport:
        """A report of now. Raises NoAnswer."""

        def look(message: Received) -> StateReport | None:
            return message if isinstance(message, StateReport) else None

        return await self._asked(RequestState(), look, "no state report", timeout=timeout)

    async def set_session(self, display: str, session: SessionId) -> None:
        """Say which visit a display is in; None ends it. Nothing answers it; without a connection it is said
        to the next one. Raises ValueError.

            await worker.set_session("display-001", "visit-77")
        """
        command = wanted.set_session(display, session)
        self._wanted.sessions[display] = session
        with contextlib.suppress(Disconnected):
            await self._link.send(command)

    async def patch_session(
        self, session: int | str, data: dict[str, Any], *, timeout: float | None = None
    ) -> None:
        """Merge `data` into the worker's copy of a session; returns when it has. Patches of one session are
        answered in their order. Raises ValueError for what is no JSON or too large for any worker,
        PatchRefused, NoAnswer, and Disconnected, at once where there is no connection; where
        one was lost, it may be merged or not: merging it again does no harm.

            await worker.patch_session("visit-77", {"currentCar": {"carBrand": "Honda"}})
        """

        def look(message: Received) -> PatchSessionResult | None:
            if not isinstance(message, PatchSessionResult):
                return None
            return message if str(message.payload.session_id) == str(session) else None

        command = wanted.patch_session(session, data)
        async with self._turns.of(session):
            result = await self._asked(
                command, look, f"session {session}: no patchSessionResult", survives=False, timeout=timeout
            )
        if not result.payload.success:
            raise PatchRefused(result.payload.message or "the worker did not say why")

    # --- what comes

    def detections(self, *identifiers: str) -> Feed[ImageDetection]:
        """Detections from now on; with identifiers, only of those subscriptions."""
        return self._feeds.add((ImageDetection,), identifiers)

    def states(self) -> Feed[StateReport]:
        """State reports from now on."""
        return self._feeds.add((StateReport,))

    def errors(self, *identifiers: str) -> Feed[WorkerError]:
        """Errors from now on; with identifiers, only those about these subscriptions."""
        return self._feeds.add((WorkerError,), identifiers)

    def patches(self) -> Feed[PatchSessionOut]:
        """The worker's patches from now on, which are answered without this feed too."""
        return self._feeds.add((PatchSessionOut,))

    def messages(self) -> Feed[Any]:
        """Everything that comes from now on, what this client cannot read too (`Unreadable`)."""
        return self._feeds.add((object,))

    async def image(
        self, identifier: str, *, overlay: bool = False, full: bool = False, timeout: float | None = None
    ) -> bytes:
        """The newest frame of a subscription as JPEG, cropped as subscribed; `overlay` draws what was last
        detected, `full` ignores the crop. Raises NoImage, Unauthorized, Unreachable."""
        path = images.image_path(images.base_path(self.url), identifier, overlay=overlay, full=full)
        seconds = self._timeout if timeout is None else timeout
        answer = await asyncio.to_thread(
            images.get, self.url, path, token=self._token, timeout=seconds, context=self._context
        )
        return images.picture(*answer)


def _refuses(error: WorkerError, identifier: str) -> bool:
    return not error.resolved and error.code in REFUSALS and error.subscription_identifier == identifier
