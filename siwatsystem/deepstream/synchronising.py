"""After a lost connection: what the app has in hand against what the server believes."""

from siwatsystem.deepstream.apps import App, Slot
from siwatsystem.deepstream.effects import Send
from siwatsystem.deepstream.endings import Endings
from siwatsystem.deepstream.ledger import Ledger
from siwatsystem.deepstream.placing import Placing
from siwatsystem.deepstream.requests import Request
from siwatsystem.deepstream.states import FINISHED, FileState, Stage
from siwatsystem.deepstream.to_app import InterruptAnalysis, QueryAnalysisStatus
from siwatsystem.deepstream.to_server import CameraStatus, StreamStatus


class Synchronising:
    def __init__(self, ledger: Ledger, placing: Placing, endings: Endings) -> None:
        self._ledger = ledger
        self._placing = placing
        self._endings = endings

    def ask(self, app: App) -> None:
        """Nothing is begun or pushed until the app has told what all its slots do."""
        if app.connection is None or app.syncing or not app.takes_work:
            return
        app.syncing = True
        self._ledger.deadlines.set((app.instance_id,), self._ledger.now + self._ledger.limits.answer_sec)
        # Without a request_id: asked again it is no repeat, the answer is another then.
        self._ledger.do(Send(app.connection, QueryAnalysisStatus()))

    def compare(self, app: App, told: list[StreamStatus]) -> None:
        """The app has told; slots go on from there."""
        app.syncing = False
        self._ledger.deadlines.clear((app.instance_id,))
        by_slot = {stream.stream_id: stream.cameras for stream in told}
        for slot in app.slots:
            cameras = by_slot.get(slot.stream_id, [])
            request = slot.current
            mine = None if request is None else _find(cameras, request.camera_id)
            for camera in cameras:
                if camera is not mine:
                    self._end_unknown(app, slot, camera)
            if request is not None and mine is None:
                self._is_missing(app, slot, request)
            elif request is not None and mine is not None:
                self._goes_on(app, slot, request, mine)
        self._placing.feed_all(app)
        self._ledger.note_app(app)

    def _end_unknown(self, app: App, slot: Slot, camera: CameraStatus) -> None:
        """Nobody asked for it, or nobody does any more."""
        assert app.connection is not None
        message = InterruptAnalysis(
            stream_id=slot.stream_id, camera_id=camera.camera_id, reason="the server does not know of it"
        )
        self._ledger.do(Send(app.connection, message))

    def _is_missing(self, app: App, slot: Slot, request: Request) -> None:
        """It has ended, or the app never heard of it."""
        if request.ending is not None or (not request.unfinished and request.files and request.closed):
            self._endings.finish(app, slot)
        else:
            never_heard = request.stage is Stage.ASKED
            left_out = [] if never_heard else [request.files[file_id] for file_id in request.given]
            reason = "the app ended it before all its files were done"
            self._endings.take_back(app, slot, reason, blamed=left_out, fault=not never_heard)

    def _goes_on(self, app: App, slot: Slot, request: Request, told: CameraStatus) -> None:
        has = [file.file_id for file in [*told.files.processing, *told.files.queued]]
        files = [file for file_id in has if (file := request.files.get(file_id)) is not None]
        known = {file.id for file in files}
        for file in files:
            if file.state is FileState.WAITING:
                request.move(file, FileState.GIVEN)
        request.put_back([file_id for file_id in request.given if file_id not in known])
        request.restored = False
        request.series += 1
        request.pushes = 0
        self._ledger.note_request(request)
        assert all(file.state in FINISHED or file.id in request.given for file in files)
        self._ledger.note_counts(request)
        if request.stage is Stage.INTERRUPTING:
            self._placing.send_interrupt(app, slot)
            return
        request.stage = Stage.ACCEPTED
        request.end_told = False
        self._ledger.note_request(request)
        self._placing.watch(app, slot)
        self._placing.push(app, slot, request)


def _find(cameras: list[CameraStatus], camera_id: int) -> CameraStatus | None:
    return next((camera for camera in cameras if camera.camera_id == camera_id), None)
