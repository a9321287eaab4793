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
        self._held = set[str]()
        """Apps with slots that wait for a request of another one."""

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
            self.feed(app, slot)

    def feed(self, app: App, slot: Slot) -> None:
        """A free slot begins what waits longest: of its own line, or of those whose app is gone."""
        if slot.current is not None or not app.takes_work or self._ledger.closing:
            return
        lines = [slot.line, *self._orphans(slot)]
        heads = [(head.order, head.id, line) for line in lines if (head := line.first) is not None]
        if not heads:
            return
        line = min(heads, key=lambda head: head[:2])[2]
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

    def _hold(self, app: App, request: Request, other: Request) -> None:
        self._held.add(app.instance_id)
        reason = f"it waits until {other.id}, of which the app may have died, has got further"
        if request.trial is None and request.reason != reason:
            request.reason = reason
            self._ledger.note_request(request)

    def release(self) -> None:
        """What was held back for another request is begun, if that has got on."""
        held, self._held = self._held, set()
        for app in [self._ledger.apps[name] for name in held if name in self._ledger.apps]:
            self.feed_all(app)

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
        for file in files:
            file.percent = 0.0
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
