"""Which slot runs which request: chosen, begun, fed with files, ended."""

from siwatsystem.deepstream import trials
from siwatsystem.deepstream.apps import App, Line, Slot
from siwatsystem.deepstream.effects import Send
from siwatsystem.deepstream.ledger import Ledger
from siwatsystem.deepstream.requests import Request
from siwatsystem.deepstream.states import FileState, RequestState, Stage
from siwatsystem.deepstream.to_app import EndMark, InterruptAnalysis, PushedFile, PushFile, StartAnalysis


class Placing:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._held: dict[str, set[str]] = {}
        """By app the requests that were to be begun, had they not to wait for one of another slot."""

    def choose(self, instance_id: str | None, stream_id: int | None) -> tuple[App, Slot] | None:
        """The least loaded slot of the apps that are connected, the first of equals. None: there is none."""
        best: tuple[App, Slot] | None = None
        for app in self._ledger.apps.values():
            if not (app.takes_work or (app.syncing and app.connection is not None)):
                continue
            if instance_id not in (None, app.instance_id):
                continue
            for slot in app.slots:
                if stream_id in (None, slot.stream_id) and (best is None or slot.load < best[1].load):
                    best = app, slot
        return best

    def queue(self, app: App, slot: Slot, request: Request) -> None:
        """A new request, at the end of a slot's line."""
        request.instance_id, request.stream_id = app.instance_id, slot.stream_id
        slot.line.add(request)
        slot.load += request.weight
        self._ledger.note_slot(app, slot)

    def wake(self) -> None:
        """Slots that are free begin what they can."""
        for app in self._ledger.apps.values():
            self.feed_all(app)

    def feed_all(self, app: App) -> None:
        for slot in app.slots:
            self._begin_next(app, slot)
        self.release(app)

    def feed(self, app: App, slot: Slot) -> None:
        """A free slot begins what is to be tried, else what waits longest: of its own line, or of those whose
        app is gone."""
        self._begin_next(app, slot)
        self.release(app)

    def _begin_next(self, app: App, slot: Slot) -> None:
        if slot.current is not None or not app.takes_work or self._ledger.closing:
            return
        lines = [slot.line, *self._orphans(slot)]
        heads = [(*trials.rank(head), head.order, head.id, line) for line in lines if (head := line.first)]
        if not heads:
            return
        line = min(heads, key=lambda head: head[:-1])[-1]
        request = line.first
        assert request is not None
        other = trials.held_by(app, request)
        if other is not None:
            self._hold(app, request, other)
            return
        line.remove(request)
        if line is not slot.line:
            request.instance_id, request.stream_id = app.instance_id, slot.stream_id
            slot.load += request.weight
        self._begin(app, slot, request)

    def trial_due(self, app: App, slot: Slot) -> None:
        """What is tried in that slot may have been alone for long enough."""
        at = trials.due(self._ledger, slot)
        if at is None:
            self.release(app)
        else:
            self._ledger.deadlines.set((app.instance_id, slot.stream_id, trials.KEY), at)

    def release_all(self) -> None:
        """After something was taken out of a line, or moved in it."""
        for app in self._ledger.apps.values():
            self.release(app)

    def _hold(self, app: App, request: Request, other: Request) -> None:
        self._held.setdefault(app.instance_id, set()).add(request.id)
        reason = f"{trials.WAITS}{other.id}, of which the app may have died, is tried alone first"
        if request.reason != reason:
            request.reason = reason
            self._ledger.note_request(request)

    def release(self, app: App) -> None:
        """What was held back for another request of this app is begun, if that has got on."""
        held = self._held.pop(app.instance_id, set())
        if not held:
            return
        for slot in app.slots:
            self._begin_next(app, slot)
        still = self._held.get(app.instance_id, set())
        for request in [self._ledger.requests.get(name) for name in held - still]:
            if request is not None and request.stage is Stage.LINE and _says_held(request):
                request.reason = "it waits for its slot"
                self._ledger.note_request(request)

    def _orphans(self, slot: Slot) -> list[Line]:
        orphans = self._ledger.orphans
        return [line for line in (orphans[None], orphans.get(slot.stream_id)) if line is not None]

    def _begin(self, app: App, slot: Slot, request: Request) -> None:
        assert app.connection is not None
        slot.current = request
        request.stage = Stage.ASKED
        request.attempt += 1
        request.series = request.pushes = 0
        request.end_told = False
        request.restored = False
        request.moved(self._ledger.now)
        request.reason = "the app was asked to begin it"
        self.await_answer(app, slot)
        if request.trial is not None:
            request.trial.since = self._ledger.now
            self.trial_due(app, slot)
        first = next(iter(request.files.values()), None)
        message = StartAnalysis(
            request_id=request.run,
            stream_id=slot.stream_id,
            camera_id=request.camera_id,
            camera_type=request.kind,
            path=request.path,
            name=request.name,
            output_dir=request.output_dir,
            init_file=None if first is None else first.path,
        )
        self._ledger.do(Send(app.connection, message))
        self._ledger.note_request(request)
        self._ledger.note_slot(app, slot)

    def await_answer(self, app: App, slot: Slot) -> None:
        """The app owes something about what is current."""
        at = self._ledger.now + self._ledger.limits.answer_sec
        self._ledger.deadlines.set((app.instance_id, slot.stream_id), at)

    def watch(self, app: App, slot: Slot) -> None:
        """The app has accepted what is current: it must get on with its files. A stream has none."""
        key, request, limits = (app.instance_id, slot.stream_id), slot.current, self._ledger.limits
        if request is None or request.kind == "videostream":
            self._ledger.deadlines.clear(key)
        elif request.doubted:
            self._ledger.deadlines.set(key, self._ledger.now + limits.answer_sec)
        else:
            self._ledger.deadlines.set(key, request.moved_at + limits.progress_sec)

    def push(self, app: App, slot: Slot, request: Request) -> None:
        """Hand the app more files once it has half its window left, and the end mark after the last."""
        if request.stage is not Stage.ACCEPTED or not app.takes_work or app.connection is None:
            return
        if not request.given:
            request.moved(self._ledger.now)  # it had nothing to get on with
        window = self._ledger.limits.push_window
        room = window - len(request.given)
        files = request.take(room) if room * 2 >= window else []
        end = request.closed and not request.end_told and not request.tally[FileState.WAITING]
        if request.kind == "videostream" or not (files or end):
            return
        request.pushes += 1
        request.end_told = end
        entries: list[PushedFile | EndMark] = [
            PushedFile(
                file_id=file.id,
                file_path=file.path,
                file_name=file.name,
                output_path=file.output,
                start_frame=file.frame if request.resume and (file.frame or request.attempt > 1) else None,
            )
            for file in files
        ]
        message = PushFile(
            request_id=f"{request.run}/{request.series}.{request.pushes}",
            stream_id=slot.stream_id,
            camera_id=request.camera_id,
            files_count=len(files),
            files=[*entries, EndMark()] if end else entries,
        )
        self._ledger.do(Send(app.connection, message))
        for file in files if not request.resume else ():
            file.percent, file.frame = 0.0, 0
        if not request.unfinished and request.end_told:
            self.await_answer(app, slot)

    def interrupt(self, app: App, slot: Slot, ending: RequestState, reason: str) -> None:
        """What is current is to end before its time; the app is told once it can be."""
        request = slot.current
        assert request is not None
        request.ending = ending
        request.stage = Stage.INTERRUPTING
        request.reason = reason or "interrupted"
        state = FileState.CANCELLED if ending is RequestState.INTERRUPTED else FileState.FAILED
        for file in request.unfinished_files():
            if file.state is FileState.WAITING and not request.restored:
                self._ledger.end_file(request, file, state, reason or None)
        self._ledger.note_request(request)
        self._ledger.deadlines.clear((app.instance_id, slot.stream_id))
        self.send_interrupt(app, slot)

    def send_interrupt(self, app: App, slot: Slot) -> None:
        request = slot.current
        if request is None or app.connection is None or app.syncing:
            return
        message = InterruptAnalysis(
            request_id=f"{request.run}/interrupt",
            stream_id=slot.stream_id,
            camera_id=request.camera_id,
            reason=request.reason or "",
        )
        self._ledger.do(Send(app.connection, message))
        self.await_answer(app, slot)


def _says_held(request: Request) -> bool:
    return request.reason is not None and request.reason.startswith(trials.WAITS)
