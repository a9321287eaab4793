"""The outbox's file against a model of it: order per lane, nothing lost, what goes first, counts."""

import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from siwatsystem.actions.base import Job, JobKind, OutboxEvent
from siwatsystem.actions.jobs import Entry
from siwatsystem.actions.registry import KINDS
from siwatsystem.actions.selection import Answer, Request, Selection
from siwatsystem.actions.store import Store
from siwatsystem.actions.targets import Target, TargetKind

MAX_BYTES = 8000
NOW = 1e9
NEVER = 1e18
TARGETS = {kind: Target(kind) for kind in get_args(TargetKind)}
BY_KEY = {target.key: target for target in TARGETS.values()}

kinds = st.sampled_from(sorted(KINDS))
lanes = st.sampled_from(["1", "2", "3", None])
servers = st.sampled_from(sorted(BY_KEY))


@dataclass
class Known:
    """A job as the model has it; numbers go up with time."""

    number: int
    lane: str
    kind: JobKind
    target: str
    size: int
    postponed: bool = False

    @property
    def rank(self) -> int:
        return KINDS[self.kind].rank


@dataclass
class Model:
    waiting: list[Known] = field(default_factory=list)
    failed: list[Known] = field(default_factory=list)
    heads: dict[str, Known] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(job.size for job in self.waiting + self.failed)

    def add(self, job: Known) -> None:
        self.waiting.append(job)
        self.waiting.sort(key=lambda each: each.number)
        self.heads.setdefault(job.lane, job)

    def remove(self, job: Known) -> None:
        self.waiting.remove(job)
        if self.heads[job.lane] is job:
            del self.heads[job.lane]
            behind = [each for each in self.waiting if each.lane == job.lane]
            if behind:
                self.heads[job.lane] = behind[0]

    def make_room(self) -> list[tuple[JobKind, bool]]:
        gone: list[tuple[JobKind, bool]] = []
        while self.size > MAX_BYTES:
            if self.failed:
                gone.append((self.failed.pop(0).kind, True))
            else:
                first = min(self.waiting, key=lambda job: (job.rank, job.number))
                self.remove(first)
                gone.append((first.kind, False))
        return gone

    def due(self, target: str) -> list[Known]:
        heads = [job for job in self.heads.values() if job.target == target and not job.postponed]
        return sorted(heads, key=lambda job: job.number)


class OutboxFile(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="outbox-machine-"))
        self.path = self.folder / "0.sqlite"
        self.store = Store(self.path, MAX_BYTES)
        self.model = Model()
        self.number = 0
        self.events = 0
        self.again: set[int] = set()
        """Jobs that were tried again after they had failed: they come later than their number says."""
        self.done: dict[str, list[int]] = {}

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    @rule(lane=lanes, chosen=st.lists(st.tuples(kinds, st.integers(0, 1500)), min_size=1, max_size=4))
    def submit(self, lane: str | None, chosen: list[tuple[JobKind, int]]) -> None:
        self.events += 1
        name = f"event:{self.events}" if lane is None else f"lane:{lane}"
        entries: list[Entry] = []
        for kind, size in chosen:
            self.number += 1
            text = json.dumps({"n": self.number, "words": "ก"}, ensure_ascii=False)
            blob = bytes(size) if kind == "redis_save_image" else None
            of: TargetKind = KINDS[kind].server
            target = TARGETS[of].key
            entries.append(Entry(Job(kind, target, {}), text, KINDS[kind].rank, blob))
            whole = len(text.encode()) + len(blob or b"") + 256
            self.model.add(Known(self.number, name, kind, target, whole))
        event = OutboxEvent((), lane=lane, event_id=str(self.events))
        dropped, _ = self.store.append([(event, entries)], BY_KEY)
        assert [(job.kind, job.failed) for job in dropped] == self.model.make_room()

    def _next(self, target: str) -> tuple[int, Known] | None:
        """The job that a delivery would take first: its number in the file and the model's."""
        seqs = self.store.heads(target, NOW, 100)
        numbers = [self._load(seq) for seq in seqs]
        assert numbers == [job.number for job in self.model.due(target)]
        return (seqs[0], self.model.due(target)[0]) if seqs else None

    def _load(self, seq: int) -> int:
        job = self.store.load(seq)
        assert job is not None
        return job.payload["n"]

    @rule(server=servers)
    def deliver(self, server: str) -> None:
        if (found := self._next(server)) is not None:
            seq, job = found
            self.model.remove(job)
            following = self.store.done(seq)
            head = self.model.heads.get(job.lane)
            assert following == (None if head is None else head.target)
            assert self.store.done(seq) is None  # Again, as by a thread that was replaced.
            if job.number not in self.again:
                self.done.setdefault(job.lane, []).append(job.number)

    @rule(server=servers)
    def refuse(self, server: str) -> None:
        if (found := self._next(server)) is not None:
            self.store.postpone(found[0], NEVER, "not now", refused=True)
            found[1].postponed = True

    @rule(server=servers)
    def give_up(self, server: str) -> None:
        if (found := self._next(server)) is not None:
            seq, job = found
            self.model.remove(job)
            self.model.failed.append(job)
            self.model.failed.sort(key=lambda each: each.number)
            self.store.park(seq, "never")

    @rule()
    def retry(self) -> None:
        answer, targets = self.store.do(Request("retry", Selection()))
        assert answer == Answer(len(self.model.waiting), len(self.model.failed))
        for job in self.model.waiting:
            job.postponed = False
        failed, self.model.failed = self.model.failed, []
        for job in failed:
            job.postponed = False
            self.model.add(job)
            self.again.add(job.number)
        assert targets == {job.target for job in self.model.waiting}

    @rule(kind=kinds, failed=st.booleans())
    def drop(self, kind: JobKind, failed: bool) -> None:
        selection = Selection(kind=kind, state="failed" if failed else None)
        waiting = [] if failed else [job for job in self.model.waiting if job.kind == kind]
        given_up = [job for job in self.model.failed if job.kind == kind]
        for job in waiting:
            self.model.remove(job)
        self.model.failed = [job for job in self.model.failed if job.kind != kind]
        answer, _ = self.store.do(Request("drop", selection))
        assert answer == Answer(len(waiting), len(given_up))

    @rule()
    def crash(self) -> None:
        """What a killed process leaves is its file and its log as they are on the disk."""
        after = self.folder / f"{int(self.path.stem) + 1}.sqlite"
        for suffix in ("", "-wal"):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                shutil.copy(part, after.with_name(after.name + suffix))
        self.store.close()
        self.path = after
        self.store = Store(after, MAX_BYTES)
        assert self.store.complaint is None

    @rule()
    def tidy(self) -> None:
        self.store.tidy()

    @invariant()
    def the_file_holds_what_the_model_holds(self) -> None:
        with closing(sqlite3.connect(self.path)) as database:
            rows = database.execute("SELECT payload, lane, head, size FROM jobs ORDER BY seq").fetchall()
            failed = database.execute("SELECT payload, size FROM failed ORDER BY seq").fetchall()
            blobs = database.execute("SELECT count(*) FROM blobs").fetchone()[0]
        assert [json.loads(row[0])["n"] for row in rows] == [job.number for job in self.model.waiting]
        assert [json.loads(row[0])["n"] for row in failed] == [job.number for job in self.model.failed]
        pictures = [job for job in self.model.waiting + self.model.failed if job.kind == "redis_save_image"]
        assert blobs == len(pictures)
        assert Counter(row[1] for row in rows if row[2]) == dict.fromkeys({row[1] for row in rows}, 1)
        counts = self.store.counts
        assert counts.depth == Counter(job.target for job in self.model.waiting)
        assert counts.waiting_bytes == sum(row[3] for row in rows)
        assert (counts.failed, counts.failed_bytes) == (len(failed), sum(row[1] for row in failed))
        assert counts.size == self.model.size <= MAX_BYTES

    @invariant()
    def each_lane_is_in_order(self) -> None:
        assert all(numbers == sorted(numbers) for numbers in self.done.values())


TestOutboxFile = OutboxFile.TestCase
TestOutboxFile.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
