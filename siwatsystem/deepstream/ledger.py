"""All that the state core knows, and what an event has changed of it."""

from collections import Counter, deque
from typing import Any

from siwatsystem.deepstream import records, wire_states
from siwatsystem.deepstream.admission import Capacity
from siwatsystem.deepstream.answers import Answers, Given
from siwatsystem.deepstream.apps import App, Line, Slot
from siwatsystem.deepstream.changes import Changes
from siwatsystem.deepstream.deadlines import Deadlines
from siwatsystem.deepstream.effects import Answer, Drop, Effect, Publish, Save, refusal
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.requests import File, Request
from siwatsystem.deepstream.states import FINISHED, FileState, RequestState, Stage

DeadlineKey = tuple[str] | tuple[str, int] | tuple[str, int, str]
"""An app, or a slot of one."""


class Ledger:
    """Apps, requests, who waits where. Whoever changes something notes it; `flush` makes effects of that."""

    def __init__(self, limits: Limits, capacity: Capacity, epoch: str) -> None:
        self.limits = limits
        self.capacity = capacity
        self.apps: dict[str, App] = {}
        self.connections: dict[int, App] = {}
        self.requests: dict[str, Request] = {}
        self.orphans: dict[int | None, Line] = {None: Line()}
        """Requests whose app is gone, by the slot number that they insist on."""
        self.unfinished = 0
        """Files that have not ended, and requests likewise."""
        self.unended = 0
        self.ended: deque[Request] = deque()
        self.ended_files = 0
        self.answers = Answers(limits.answers)
        self.changes = Changes(epoch, limits.changes)
        self.deadlines: Deadlines[DeadlineKey] = Deadlines()
        self.closing = False
        self.now = 0.0
        """The time of the event that is being dealt with, in seconds."""
        self._orders = 0.0
        self._effects: list[Effect] = []
        self._apps: dict[str, App] = {}
        self._told_apps: dict[str, App] = {}
        self._slots: dict[tuple[str, int], tuple[App, Slot]] = {}
        self._requests: dict[str, Request] = {}
        self._told: dict[str, Request] = {}
        self._files: dict[tuple[str, int], tuple[Request, File]] = {}
        self._dropped: list[Drop] = []
        self._gone: list[str] = []
        self._statuses: dict[str, str] = {}
        """What was last told of each app that follows from its slots."""
        self._saved: list[Save] = []

    # --- what has changed ---------------------------------------------------------------------

    def do(self, effect: Effect) -> None:
        self._effects.append(effect)

    def note_app(self, app: App) -> None:
        self._apps[app.instance_id] = app
        for slot in app.slots:  # what a slot is called depends on its app's state
            self.note_slot(app, slot)

    def tell_app(self, app: App) -> None:
        """It looks different; what is kept on disk does not."""
        self._told_apps[app.instance_id] = app

    def note_slot(self, app: App, slot: Slot) -> None:
        """It looks different; nothing of it is kept on disk."""
        self._slots[app.instance_id, slot.stream_id] = (app, slot)
        status = wire_states.instance_status(app)
        if self._statuses.get(app.instance_id) != status:
            self._statuses[app.instance_id] = status
            self.tell_app(app)

    def forget_slot(self, app: App, slot: Slot) -> None:
        """It was taken out of the app's slots."""
        self._slots.pop((app.instance_id, slot.stream_id), None)
        self._gone.append(f"{app.instance_id}/{slot.stream_id}")

    def note_request(self, request: Request) -> None:
        self._requests[request.id] = request

    def note_counts(self, request: Request) -> None:
        """Its counts are others; what is kept on disk is not."""
        self._told[request.id] = request

    def note_file(self, request: Request, file: File) -> None:
        self._files[request.id, file.id] = (request, file)

    def answer(self, request_id: str, print_: str, body: dict[str, Any]) -> None:
        """A command was carried out; the answer is remembered."""
        body = {**body, "request_id": request_id}
        given = Given(print_, 200, body)
        for forgotten in self.answers.add(request_id, given):
            self._dropped.append(Drop("answer", forgotten))
        self._saved.append(Save("answer", request_id, records.answer_record(given)))
        self._effects.append(Answer(request_id, 200, body))

    def refuse(self, request_id: str, status: int, reason: str) -> None:
        """A command changed nothing. That is not remembered: later it may be carried out."""
        self._effects.append(refusal(request_id, status, reason))

    def drop(self, effect: Drop) -> None:
        self._dropped.append(effect)

    def flush(self) -> list[Effect]:
        """Saves and drops first: what is told afterwards is true even if the server dies in between."""
        try:
            return self._made()
        finally:  # what cannot be told must not come again with every event that follows
            self._effects, self._dropped, self._saved, self._gone = [], [], [], []
            for noted in (
                self._apps,
                self._told_apps,
                self._requests,
                self._told,
                self._files,
                self._slots,
            ):
                noted.clear()

    def _made(self) -> list[Effect]:
        """Effects of all that was noted."""
        effects: list[Effect] = [*self._saved]
        before = self.changes.number
        for app in self._apps.values():
            effects.append(Save("app", app.instance_id, records.app_record(app)))
        for app in {**self._apps, **self._told_apps}.values():
            self.changes.add("app", app.instance_id, wire_states.followed(app))
        for request in self._requests.values():
            effects.append(Save("request", request.id, records.request_record(request)))
        for request, file in self._files.values():
            effects.append(Save("file", records.file_key(request, file), records.file_record(request, file)))
        self._tell_files()
        for request in {**self._requests, **self._told}.values():
            self.changes.add("request", request.id, wire_states.request(request))
        for app, slot in self._slots.values():
            self.changes.add("slot", f"{app.instance_id}/{slot.stream_id}", wire_states.slot(app, slot))
        for key in self._gone:
            self.changes.add("slot", key, None)
        for drop in self._dropped:
            effects.append(drop)
            if drop.kind == "app" or drop.kind == "request":
                self.changes.add(drop.kind, drop.key, None)
        effects += self._effects
        if self.changes.number > before:
            effects.append(Publish(self.changes.number))
        return effects

    def _tell_files(self) -> None:
        """One by one as long as they are few: 10,000 would push out all that others have not read yet."""
        few = len(self._files) <= self.limits.told_files
        counts = Counter() if few else Counter(request.id for request, _ in self._files.values())
        for request, file in self._files.values():
            if counts[request.id] <= self.limits.told_files:
                self.changes.add("file", records.file_key(request, file), wire_states.file(request, file))
        for request_id, count in counts.items():
            if count > self.limits.told_files:
                self.changes.add("files", request_id, {"request_id": request_id, "changed": count})

    # --- requests and their files -------------------------------------------------------------

    def next_order(self) -> float:
        self._orders += 1
        return self._orders

    def restore_order(self, order: float) -> None:
        self._orders = max(self._orders, order)

    def slot_of(self, request: Request) -> tuple[App, Slot] | None:
        """Where it is or waits; None for an orphan and one that has ended."""
        if request.instance_id is None or request.stream_id is None or request.stage is Stage.OVER:
            return None
        app = self.apps[request.instance_id]
        return app, app.slots[request.stream_id]

    def line_of(self, request: Request) -> Line:
        """The line that it waits in, or would."""
        place = self.slot_of(request)
        if place is not None:
            return place[1].line
        return self.orphans.setdefault(request.wanted_stream, Line())

    def add_files(self, request: Request, files: list[File]) -> None:
        """New files of a request that is known; its slot's load follows."""
        request.add(files)
        self.unfinished += len(files)
        place = self.slot_of(request)
        if place is not None:
            place[1].load += len(files)
            self.note_slot(*place)
        for file in files:
            self.note_file(request, file)

    def end_file(self, request: Request, file: File, state: FileState, error: str | None = None) -> None:
        """A file has ended, once and for all."""
        assert file.state not in FINISHED, (request.id, file.id, file.state)
        request.move(file, state)
        file.error = error
        self.unfinished -= 1
        place = self.slot_of(request)
        if place is not None:
            app, slot = place
            slot.load -= 1
            if state is not FileState.CANCELLED:
                file.by = (app.instance_id, slot.stream_id)
                slot.done += state is FileState.DONE
                slot.failed += state is FileState.FAILED
            self.note_slot(app, slot)
        self.note_file(request, file)
        self.note_counts(request)

    def end_rest(self, request: Request, state: FileState, error: str | None = None) -> int:
        """All files that have not ended do; how many those were."""
        rest = request.unfinished_files() if request.unfinished else []
        for file in rest:
            self.end_file(request, file, state, error)
        return len(rest)

    def end_request(self, request: Request, state: RequestState, reason: str | None) -> None:
        """It is out of every line and slot already, and its files have ended."""
        assert not request.unfinished, request.id
        request.state = state
        request.stage = Stage.OVER
        request.reason = reason
        request.ending = None
        request.ended_at = self.now
        self.unended -= 1
        self.note_request(request)
        self.retire(request)

    def retire(self, request: Request) -> None:
        """It has ended; the oldest of those are forgotten."""
        self.ended.append(request)
        self.ended_files += len(request.files)
        while len(self.ended) > 1 and (
            len(self.ended) > self.limits.kept_requests or self.ended_files > self.limits.kept_files
        ):
            self._forget(self.ended.popleft())

    def _forget(self, request: Request) -> None:
        self.ended_files -= len(request.files)
        del self.requests[request.id]
        self._requests.pop(request.id, None)
        self._told.pop(request.id, None)
        for file in request.files.values():
            self._files.pop((request.id, file.id), None)
            self.drop(Drop("file", records.file_key(request, file)))
        self.drop(Drop("request", request.id))

    def forget_app(self, app: App) -> None:
        """It was taken out of `apps`, and nothing waits for it."""
        self._apps.pop(app.instance_id, None)
        self._told_apps.pop(app.instance_id, None)
        self._statuses.pop(app.instance_id, None)
        for slot in app.slots:
            self.forget_slot(app, slot)
        self.deadlines.clear((app.instance_id,))
        self.drop(Drop("app", app.instance_id))

    # --- all of it ----------------------------------------------------------------------------

    def export(self) -> dict[str, Any]:
        """Every record, by kind and key: what all Saves and Drops so far come to."""
        return {
            "version": records.VERSION,
            "app": {app.instance_id: records.app_record(app) for app in self.apps.values()},
            "request": {request.id: records.request_record(request) for request in self.requests.values()},
            "file": {
                records.file_key(request, file): records.file_record(request, file)
                for request in self.requests.values()
                for file in request.files.values()
            },
            "answer": {key: records.answer_record(given) for key, given in self.answers.items()},
        }
