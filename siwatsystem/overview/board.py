"""What the dashboard shows, for all who look: computed at most once a second, collected only while somebody
does. The histories alone go on: who looks after something went wrong wants to see how it came.

Everything here runs on the event loop's thread.
"""

import asyncio
import contextlib
import itertools
import logging
import math
import time
from dataclasses import dataclass
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from siwatsystem import __version__
from siwatsystem.frames import Frame
from siwatsystem.loops import Analysis, AnalysisLoop, Member
from siwatsystem.overview.backend import Backend, presence
from siwatsystem.overview.boxes import boxes_of
from siwatsystem.overview.cameras import Record, camera_state, size_of
from siwatsystem.overview.feed import TOLD, Entry, Feed
from siwatsystem.overview.headline import headline, problems
from siwatsystem.overview.history import STEP_SEC
from siwatsystem.overview.machine import Machine
from siwatsystem.overview.stills import still, thumb
from siwatsystem.overview.trees import Times, tree_of
from siwatsystem.worker import Worker

log = logging.getLogger(__name__)

FRESH_SEC = 0.9
"""For so long a state is told again as it is."""
WATCHED_SEC = 10.0
"""So long after the last request nobody looks any more, at all or at a camera's picture."""
BEHIND_SEC = 2.0
"""A frame that was analysed so much before the newest one is not shown in its place."""
THUMBS_AT_A_TIME = 2


@dataclass(frozen=True, slots=True)
class Sight:
    """The newest frame that was analysed for a subscription, what was seen on it, and by which loop: one
    that looks at another camera or part of it has seen nothing yet."""

    loop: AnalysisLoop
    frame: Frame
    analysis: Analysis


@dataclass(frozen=True, slots=True)
class Still:
    """A picture: its frame's name, JPEG, and what was seen on it: `{size: [width, height], boxes}`."""

    name: str
    """Of no other frame of this camera, even after it was replaced or the worker was started anew."""
    data: bytes
    seen: dict[str, Any]


class Board:
    """One per worker. `start` and `stop` are called once each, on the event loop."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._records: dict[str, Record] = {}
        self._machine = Machine(worker)
        self._feed = Feed()
        self._sights: dict[str, Sight] = {}
        self._wanted: dict[str, float] = {}
        """Cameras whose pictures are looked at, and until when (monotonic clock)."""
        self._times: WeakKeyDictionary[AnalysisLoop, Times] = WeakKeyDictionary()
        self._numbers: WeakKeyDictionary[AnalysisLoop, int] = WeakKeyDictionary()
        self._fresh = itertools.count(time.time_ns())
        """Numbers of loops; frames are counted anew in each."""
        self._backend = Backend()
        self._until = -math.inf
        """When nobody looks any more."""
        self._state: tuple[float, bytes] = (-math.inf, b"")
        self._thumbs = 0
        """How many are being made."""
        self._jobs: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep(), name="dashboard")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._end()

    # --- what routes ask ----------------------------------------------------------------------------

    def state(self) -> bytes:
        """Everything of the first page, as JSON."""
        now = time.monotonic()
        self._look(now)
        if now - self._state[0] > FRESH_SEC:
            self._state = (now, orjson.dumps(self._compute()))
        return self._state[1]

    def machine_history(self) -> dict[str, Any]:
        """The last minutes of the machine."""
        self._look(time.monotonic())
        return {"step_sec": STEP_SEC, **self._machine.history.as_dict()}

    def camera(self, identifier: str) -> dict[str, Any] | None:
        """Everything of a camera's page; None where there is none."""
        subscription, loop = self._worker.subscriptions.get(identifier), self._worker.loop_of(identifier)
        if subscription is None or loop is None:
            return None
        self._look(time.monotonic())
        record, pipeline, source = self._record(identifier), loop.loaded.pipeline, loop.source
        return {
            "camera": camera_state(self._worker, subscription, record),
            "address": source.spec.redacted,
            "snapshot_ms": source.spec.snapshot_interval_ms,
            "crop": subscription.crop,
            "frames": source.frames,
            "reconnects": source.reconnects,
            "decode": source.decoding.policy,
            "device": source.decoding.device,
            "keyframe_sec": source.decoding.keyframe_sec,
            "shared_with": sorted(set(loop.members) - {identifier}),
            "wanted_rate": round(1 / self._worker.settings.analysis_interval_sec, 2),
            "precision": None if pipeline is None else f"{pipeline.precision}: {pipeline.precision_reason}",
            "tree": None if pipeline is None else tree_of(pipeline, self._times.get(loop)),
            "history": {"step_sec": STEP_SEC, **record.history.as_dict()},
        }

    async def still(self, identifier: str, width: int, known: str | None = None) -> Still | None:
        """The newest picture of a camera that was analysed, else the newest one; None where there is none
        (any more), or it is the `known` one. Raises ValueError for one that cannot be encoded."""
        loop = self._worker.loop_of(identifier)
        if loop is None:
            return None
        now = time.monotonic()
        self._look(now)
        self._wanted[identifier] = now + WATCHED_SEC
        frame, sight = loop.source.latest, self._sights.get(identifier)
        if frame is None:
            return None
        if sight is not None and sight.loop is loop and frame.monotonic - sight.frame.monotonic <= BEHIND_SEC:
            frame = sight.frame
        else:
            sight = None
        name = self._name(loop, frame)
        if name == known:
            return None
        boxes = [] if sight is None else boxes_of(sight.analysis.events, sight.analysis.seen)
        seen = {"size": size_of(loop), "boxes": boxes}
        return Still(name, await still(frame, loop.crop, width), seen)

    def thumb(self, number: int) -> bytes | None:
        """The picture of an entry of the feed."""
        return self._feed.picture(number)

    def archives(self) -> list[dict[str, Any]]:
        """The archives that are loaded, for trying one."""
        found: dict[str, dict[str, Any]] = {}
        for subscription in self._worker.subscriptions.all():
            loop = self._worker.loop_of(subscription.identifier)
            if loop is not None and loop.loaded.pipeline is not None:
                key = loop.loaded.key
                entry = {"camera": subscription.identifier, "name": subscription.model_name}
                found.setdefault(str(key), {**entry, "id": key.model_id, "url": key.bare})
        return list(found.values())

    # --- what is computed and collected -------------------------------------------------------------

    def _compute(self) -> dict[str, Any]:
        worker = self._worker
        outbox, at = worker.engine.status(), time.time()
        self._backend.look(at, **presence(worker))
        gone = self._backend.gone(at)
        cameras = [
            camera_state(worker, subscription, self._records.get(subscription.identifier))
            for subscription in worker.subscriptions.all()
        ]
        # What somebody tests is no reason to alarm everybody.
        real = [camera for camera in cameras if not camera.test]
        if gone is None:
            real = real or cameras
        found = problems(real, outbox, [str(failure) for failure in worker.supervisor.failures()], gone)
        return {
            "at": at,
            "version": __version__,
            "started": worker.started_at,
            "open": worker.settings.control_token is None,
            "wanted_rate": round(1 / worker.settings.analysis_interval_sec, 2),
            "headline": headline(real, found),
            "problems": found,
            "machine": self._machine.state(outbox),
            "cameras": cameras,
            "feed": [entry.as_dict() for entry in islice(self._feed, TOLD)],
            "archives": self.archives(),
        }

    def _look(self, now: float) -> None:
        self._until = now + WATCHED_SEC
        self._worker.onlooker = self._saw

    def _saw(self, member: Member, frame: Frame, analysis: Analysis) -> None:
        try:
            self._note(member, frame, analysis)
        except Exception:
            # What is shown must not cost what is told.
            log.exception("the dashboard could not take what was seen")

    def _note(self, member: Member, frame: Frame, analysis: Analysis) -> None:
        identifier, now = member.subscription.identifier, time.monotonic()
        loop = self._worker.loop_of(identifier)
        # What a loop says that the subscription has left meanwhile is of another camera.
        if loop is None or loop.members.get(identifier) is not member or now > self._until:
            return
        self._record(identifier).delay = now - frame.monotonic
        self._times.setdefault(loop, Times()).add(frame.sequence, analysis.steps)
        if self._wanted.get(identifier, 0.0) > now:
            self._sights[identifier] = Sight(loop, frame, analysis)
        for event in analysis.events:
            entry = self._feed.add(identifier, event, frame.captured_at)
            if entry.wants and self._thumbs < THUMBS_AT_A_TIME:
                entry.wants = False
                self._thumbs += 1
                job = asyncio.create_task(self._picture(entry, frame, loop))
                self._jobs.add(job)
                job.add_done_callback(self._jobs.discard)

    async def _picture(self, entry: Entry, frame: Frame, loop: AnalysisLoop) -> None:
        try:
            picture = await asyncio.to_thread(thumb, frame, loop.crop, entry.box)
            self._feed.has_picture(entry.number, picture)
        except ValueError as error:
            entry.wants = True
            log.debug("no picture of what was seen: %s", error)
        finally:
            self._thumbs -= 1

    def _name(self, loop: AnalysisLoop, frame: Frame) -> str:
        number = self._numbers.get(loop)
        if number is None:
            number = self._numbers[loop] = next(self._fresh)
        return f"{number}-{frame.sequence}"

    def _record(self, identifier: str) -> Record:
        return self._records.setdefault(identifier, Record())

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(STEP_SEC)
            try:
                self._sample()
            except Exception:
                log.exception("the dashboard's figures could not be taken")

    def _sample(self) -> None:
        at, now = time.time(), time.monotonic()
        self._backend.look(at, **presence(self._worker))
        known = {subscription.identifier for subscription in self._worker.subscriptions.all()}
        for gone in self._records.keys() - known:
            del self._records[gone]
        for identifier in known:
            self._record(identifier).sample(at, now, self._worker, identifier)
        rates = [
            sum(record.history.newest(name) or 0.0 for record in self._records.values())
            for name in ("analysed", "dropped")
        ]
        self._machine.sample(at, now, *rates)
        for identifier in [one for one, until in self._wanted.items() if until < now or one not in known]:
            del self._wanted[identifier]
            self._sights.pop(identifier, None)
        if now > self._until:
            self._end()

    def _end(self) -> None:
        """Nobody looks any more: nothing is collected, and no frame is held."""
        self._worker.onlooker = None
        self._sights.clear()
        self._wanted.clear()
        self._feed.clear()
        self._times = WeakKeyDictionary()
