"""What an app says: what it means for the request that its slot runs."""

from collections.abc import Callable
from typing import Any

from siwatsystem.deepstream import trials
from siwatsystem.deepstream.apps import App, Slot
from siwatsystem.deepstream.endings import Endings
from siwatsystem.deepstream.ledger import Ledger
from siwatsystem.deepstream.lifecycle import Lifecycle
from siwatsystem.deepstream.messages import AppMessage
from siwatsystem.deepstream.placing import Placing
from siwatsystem.deepstream.requests import File, Request
from siwatsystem.deepstream.states import FINISHED, FileState, RequestState, Stage
from siwatsystem.deepstream.synchronising import Synchronising
from siwatsystem.deepstream.to_server import (
    AnalysisComplete,
    AnalysisInterrupted,
    AnalysisStarted,
    AnalysisStatus,
    AppTerminated,
    CameraStatus,
    FileDone,
    MetricsResponse,
    ProcessingStarted,
    PushAck,
)

OfCamera = AnalysisStarted | PushAck | ProcessingStarted | FileDone | AnalysisComplete | AnalysisInterrupted


class Dialogue:
    def __init__(
        self, ledger: Ledger, placing: Placing, endings: Endings, lifecycle: Lifecycle, sync: Synchronising
    ) -> None:
        self._ledger = ledger
        self._placing = placing
        self._endings = endings
        self._lifecycle = lifecycle
        self._sync = sync
        self._handlers: dict[type, Callable[[App, Slot, Request, Any], bool]] = {
            AnalysisStarted: self._started,
            PushAck: self._pushed,
            ProcessingStarted: self._processing,
            FileDone: self._file_done,
            AnalysisComplete: self._complete,
            AnalysisInterrupted: self._interrupted,
        }

    def receive(self, app: App, message: AppMessage) -> None:
        """Any message but the handshake. What belongs to nothing is counted and changes nothing."""
        match message:
            case AppTerminated():
                self._lifecycle.ends_itself(app, message.message or "it ended by itself")
            case MetricsResponse():
                self._metrics(app, message)
            case AnalysisStatus():
                self._status(app, message)
            case (
                AnalysisStarted()
                | PushAck()
                | ProcessingStarted()
                | FileDone()
                | AnalysisComplete()
                | AnalysisInterrupted()
            ):
                self._of_camera(app, message)
            case _:
                app.strays += 1

    def _of_camera(self, app: App, message: OfCamera) -> None:
        slot = app.slots[message.stream_id] if message.stream_id < len(app.slots) else None
        request = None if slot is None else slot.current
        if (
            slot is None
            or request is None
            or request.camera_id != message.camera_id
            or not request.is_own(message.request_id)
            or not self._handlers[type(message)](app, slot, request, message)
        ):
            app.strays += 1

    # --- each answers whether the message meant anything --------------------------------------

    def _started(self, app: App, slot: Slot, request: Request, message: AnalysisStarted) -> bool:
        if request.stage is not Stage.ASKED:
            return False
        if message.status == "error":
            reason = message.error_reason or message.message or "the app gave no reason"
            self._endings.fail(app, slot, f"refused by the app: {reason}")
            self._placing.feed(app, slot)
            return True
        self._accept(app, slot, request)
        if message.status == "queued":  # behind a camera that the server knows nothing of
            request.reason = "the app has queued it behind another camera"
            self._sync.ask(app)
        self._placing.push(app, slot, request)
        return True

    def _accept(self, app: App, slot: Slot, request: Request) -> None:
        request.stage = Stage.ACCEPTED
        request.reason = "accepted; no frame was analysed yet"
        request.moved(self._ledger.now)
        self._placing.watch(app, slot)
        self._ledger.note_request(request)

    def _pushed(self, app: App, slot: Slot, request: Request, message: PushAck) -> bool:
        if request.stage is not Stage.ACCEPTED or not request.pushes:
            return False
        if message.status == "error" and request.unfinished:
            reason = f"the app refused the files: {message.error_reason or 'it gave no reason'}"
            self._placing.interrupt(app, slot, RequestState.FAILED, reason)
        return True

    def _processing(self, app: App, slot: Slot, request: Request, message: ProcessingStarted) -> bool:
        file = self._file(app, slot, request, message.file_id, message.request_id)
        if file is None:
            return False
        if message.total_frames is not None:
            file.total = message.total_frames
        self._first_frame(app, slot, request)
        if request.current != file.id:
            request.begin(file)
            request.moved(self._ledger.now)
            self._ledger.note_counts(request)
            self._ledger.note_slot(app, slot)
        return True

    def _file_done(self, app: App, slot: Slot, request: Request, message: FileDone) -> bool:
        file = self._file(app, slot, request, message.file_id, message.request_id)
        if file is None:
            return False
        if message.error is None:
            self._first_frame(app, slot, request)
        file.result = message.processed_file or None
        file.frames, file.detections = message.frames, message.detections
        request.moved(self._ledger.now)
        state = FileState.DONE if message.error is None else FileState.FAILED
        self._ledger.end_file(request, file, state, message.error)
        if request.fruitless or request.given_up:
            request.fruitless = request.given_up = 0
            self._ledger.note_request(request)
        self._placing.push(app, slot, request)
        self._placing.release(app)
        if not request.unfinished and request.end_told and request.stage is Stage.ACCEPTED:
            self._placing.await_answer(app, slot)
        return True

    def _complete(self, app: App, slot: Slot, request: Request, message: AnalysisComplete) -> bool:
        if not self._is_with_app(app, slot, request, message.request_id):
            return False
        if request.ending is None and request.unfinished:
            self._sync.ask(app)  # too early, or an older one told again: what does the app do?
            return False
        self._endings.finish(app, slot)
        self._placing.feed(app, slot)
        return True

    def _interrupted(self, app: App, slot: Slot, request: Request, message: AnalysisInterrupted) -> bool:
        if (
            message.status == "error"
            and request.stage is Stage.ACCEPTED
            and request.names(message.request_id)
        ):
            at = () if request.suspect is None else (request.suspect,)
            reason = f"the app gave it up: {message.error_reason or message.message or 'it gave no reason'}"
            self._endings.take_back(app, slot, reason, blamed=at)
            self._placing.feed(app, slot)
            return True
        if request.stage is not Stage.INTERRUPTING:
            self._sync.ask(app)  # nobody asked for it: what does the app do now?
            return False
        self._endings.finish(app, slot)
        self._placing.feed(app, slot)
        return True

    # ------------------------------------------------------------------------------------------

    def _is_with_app(self, app: App, slot: Slot, request: Request, request_id: object) -> bool:
        """Whether the app may speak of it: after it was accepted, so that no earlier run is meant."""
        if request.stage in (Stage.ACCEPTED, Stage.INTERRUPTING):
            return True
        if request.stage is Stage.ASKED and request.names(request_id):
            self._accept(app, slot, request)
            self._placing.push(app, slot, request)
            return True
        return False

    def _file(self, app: App, slot: Slot, request: Request, file_id: int, request_id: object) -> File | None:
        """A file that the app has in hand."""
        if not self._is_with_app(app, slot, request, request_id):
            return None
        file = request.files.get(file_id)
        if file is None or file.state in FINISHED:
            return None
        return None if file.state is FileState.WAITING and not request.restored else file

    def _first_frame(self, app: App, slot: Slot, request: Request) -> None:
        if request.state is RequestState.RUNNING:
            return
        request.state = RequestState.RUNNING
        if request.stage is Stage.ACCEPTED:
            request.reason = None
        trials.first_frame(self._ledger, request)
        self._placing.release(app)
        if not request.files:
            request.fruitless = 0
        if request.began_at is None:
            request.began_at = self._ledger.now
        self._ledger.note_request(request)
        self._ledger.note_slot(app, slot)

    def _reason(self, request: Request, told: str | None) -> None:
        """Why nothing comes of it just now, in the app's words; None: nothing is wrong."""
        if told is None and request.state is not RequestState.RUNNING:
            return  # what the server knows itself stands
        if told != request.reason:
            request.reason = told
            self._ledger.note_request(request)

    def _metrics(self, app: App, message: MetricsResponse) -> None:
        told = message.model_dump(exclude_unset=True, exclude={"type", "request_id", "streams"})
        app.metrics = told
        for speed in message.streams or ():
            if speed.stream_id < len(app.slots):
                slot = app.slots[speed.stream_id]
                slot.fps = speed.fps
                self._ledger.note_slot(app, slot)
        self._ledger.tell_app(app)

    def _status(self, app: App, message: AnalysisStatus) -> None:
        if app.syncing and message.streams is not None:
            self._sync.compare(app, message.streams)
        for told in message.slots():
            if told.stream_id >= len(app.slots):
                app.strays += 1
                continue
            slot = app.slots[told.stream_id]
            if slot.trouble is not (told.status == "error"):
                slot.trouble = told.status == "error"
                self._ledger.note_slot(app, slot)
            for camera in told.cameras:
                request = slot.current
                if request is not None and request.camera_id == camera.camera_id:
                    self._progress(app, slot, request, camera)

    def _progress(self, app: App, slot: Slot, request: Request, camera: CameraStatus) -> None:
        if request.stage not in (Stage.ACCEPTED, Stage.INTERRUPTING):
            return
        if request.kind == "videostream" and camera.status == "running":
            self._first_frame(app, slot, request)
        if request.stage is Stage.ACCEPTED:
            self._reason(request, camera.reason)
        for told in camera.files.processing[:1]:
            file = self._file(app, slot, request, told.file_id, None)
            if file is None:
                continue
            at = (told.progress_pct, told.frame or 0)
            moved = at != (file.percent, file.frame)
            if moved:
                request.moved(self._ledger.now)
            if told.frame is not None and not app.tells_frames:
                app.tells_frames = True
                self._ledger.note_app(app)
            file.percent, file.frame = at
            if moved:
                trials.told(self._ledger, request, file)
                self._placing.release(app)
            request.at_file = file.id
            file.total = told.total_frames if told.total_frames is not None else file.total
            if told.progress_pct > 0 or told.frame:
                self._first_frame(app, slot, request)
                request.begin(file)
            self._ledger.note_counts(request)
            self._ledger.note_slot(app, slot)
