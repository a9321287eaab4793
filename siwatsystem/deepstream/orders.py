"""Clients' commands: each is answered once, and one that is sent again changes nothing."""

from collections.abc import Callable
from typing import Any

from siwatsystem.deepstream.admission import admit
from siwatsystem.deepstream.answers import fingerprint
from siwatsystem.deepstream.apps import App
from siwatsystem.deepstream.effects import Answer, Send
from siwatsystem.deepstream.endings import Endings
from siwatsystem.deepstream.events import (
    AskMetrics,
    Cancel,
    CleanUp,
    Command,
    FileGiven,
    Interrupt,
    Launch,
    Push,
    Register,
    Reorder,
    Start,
    Stop,
    Terminate,
)
from siwatsystem.deepstream.ledger import Ledger
from siwatsystem.deepstream.lifecycle import Lifecycle
from siwatsystem.deepstream.placing import Placing
from siwatsystem.deepstream.requests import File, Request
from siwatsystem.deepstream.states import ENDED, LIVE, RequestState, Stage
from siwatsystem.deepstream.to_app import QueryMetrics
from siwatsystem.deepstream.wire_states import start_status

Body = dict[str, Any]


class Refused(Exception):
    """A command that is not carried out; nothing has changed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Orders:
    def __init__(self, ledger: Ledger, placing: Placing, endings: Endings, lifecycle: Lifecycle) -> None:
        self._ledger = ledger
        self._placing = placing
        self._endings = endings
        self._lifecycle = lifecycle
        self._handlers: dict[type, Callable[[Any], Body | None]] = {
            Launch: self._launch,
            Register: self._register,
            Start: self._start,
            Push: self._push,
            Reorder: self._reorder,
            Cancel: self._cancel,
            Interrupt: self._interrupt,
            Terminate: self._terminate,
            CleanUp: self._clean_up,
            Stop: self._stop,
            AskMetrics: self._ask_metrics,
        }

    def handle(self, command: Command) -> None:
        """Carry it out. A launch is answered later, by what becomes of the process."""
        print_ = fingerprint(command)
        before = self._ledger.answers.get(command.request_id)
        if before is not None:
            if before.fingerprint == print_:
                self._ledger.do(Answer(command.request_id, before.status, before.body))
            else:
                self._ledger.refuse(command.request_id, 409, "this request_id was used for another command")
            return
        try:
            body = self._handlers[type(command)](command)
        except Refused as refused:
            self._ledger.refuse(command.request_id, refused.status, refused.reason)
            return
        if body is None:
            return
        if isinstance(command, AskMetrics):  # nothing has changed, and pollers would push out what counts
            self._ledger.do(Answer(command.request_id, 200, body))
        else:
            self._ledger.answer(command.request_id, print_, body)

    def knows(self, request_id: str) -> bool:
        """Whether it was carried out, or is about to be."""
        ledger = self._ledger
        return (
            ledger.answers.get(request_id) is not None
            or request_id in ledger.requests
            or self._waiting_launch(request_id) is not None
        )

    # --- apps ---------------------------------------------------------------------------------

    def _launch(self, command: Launch) -> Body | None:
        asked_by = (command.request_id, fingerprint(command))
        waiting = self._waiting_launch(command.request_id)
        if waiting is not None and waiting.asked_by != asked_by:
            raise Refused(409, "this request_id was used for another command")
        if waiting is not None:
            return None
        self._open()
        instance_id = command.instance_id or command.made_up
        app = self._ledger.apps.get(instance_id)
        if app is not None and (app.state in LIVE or app.connection is not None):
            raise Refused(409, f"{instance_id} lives already ({app.state.value})")
        live = [other.spec for other in self._ledger.apps.values() if other.state in LIVE]
        refused = admit(command.spec, live, self._ledger.capacity)
        if refused is not None:
            raise Refused(refused.status, refused.reason)
        self._lifecycle.launch(instance_id, command.spec, asked_by)
        return None

    def _waiting_launch(self, request_id: str) -> App | None:
        return next(
            (app for app in self._ledger.apps.values() if app.asked_by and app.asked_by[0] == request_id),
            None,
        )

    def _register(self, command: Register) -> Body:
        app = self._ledger.apps.get(command.instance_id)
        if app is not None and (app.state in LIVE or app.process is not None):
            raise Refused(409, f"{command.instance_id} is there already ({app.state.value})")
        if app is None:
            app = self._ledger.apps[command.instance_id] = App(command.instance_id, command.spec)
        app.spec = command.spec
        app.reason = "registered; it has not connected yet"
        if command.spec.streams_count is not None:
            self._lifecycle.resize(app, command.spec.streams_count)
        self._ledger.note_app(app)
        return {"success": True, "message": "registered", "instance_id": app.instance_id}

    def _terminate(self, command: Terminate) -> Body:
        app = self._app(command.instance_id)
        before = app.state
        self._lifecycle.stop(app, command.reason or "terminated by a client")
        ended = before not in LIVE
        message = f"it has ended already ({before.value})" if ended else "the app was asked to end"
        process = None if app.process is None else app.process.id
        return {
            "success": True,
            "message": message,
            "instance_id": app.instance_id,
            "process_id": process,
        }

    def _clean_up(self, command: CleanUp) -> Body:
        over = [
            app
            for app in self._ledger.apps.values()
            if app.state not in LIVE and app.process is not None and not any(slot.line for slot in app.slots)
        ]
        for app in over:
            del self._ledger.apps[app.instance_id]
            self._ledger.forget_app(app)
        return {"success": True, "message": f"{len(over)} processes were forgotten", "removed": len(over)}

    def _stop(self, command: Stop) -> Body:
        self._ledger.closing = True
        live = [app for app in self._ledger.apps.values() if app.state in LIVE]
        for app in live:
            self._lifecycle.stop(app, "it ended with its server: launch it again")
        return {"success": True, "message": f"{len(live)} apps were asked to end"}

    def _ask_metrics(self, command: AskMetrics) -> Body:
        app = self._app(command.instance_id)
        if app.connection is None:
            raise Refused(503, f"{app.instance_id} is not connected")
        self._ledger.do(Send(app.connection, QueryMetrics(request_id=command.request_id)))
        return {"success": True, "message": "the app was asked", "instance_id": app.instance_id}

    # --- requests -----------------------------------------------------------------------------

    def _start(self, command: Start) -> Body:
        known = self._ledger.requests.get(command.request_id)
        if known is not None:  # its answer was forgotten meanwhile
            return self._requested(known)
        self._open()
        limits = self._ledger.limits
        if self._ledger.unended >= limits.max_requests:
            raise Refused(503, f"{limits.max_requests} requests have not ended yet: more are not taken")
        if command.kind != "videostream" and command.closed and not command.files:
            raise Refused(422, "there are no files to analyse")
        files = self._files(command.files, {})
        if command.instance_id is not None:
            app = self._app(command.instance_id)
            if command.stream_id is not None and app.slots and command.stream_id >= len(app.slots):
                raise Refused(404, f"{app.instance_id} has no stream {command.stream_id}")
        place = self._placing.choose(command.instance_id, command.stream_id)
        if place is None:
            named = f"{command.instance_id} is not connected, or has no such stream"
            raise Refused(503, named if command.instance_id else "no instance is connected")
        request = Request(
            id=command.request_id,
            camera_id=command.camera_id,
            kind=command.kind,
            path=command.path,
            name=command.name,
            output_dir=command.output_dir,
            created_at=self._ledger.now,
            order=self._ledger.next_order(),
            wanted_instance=command.instance_id,
            wanted_stream=command.stream_id,
            closed=command.closed and command.kind != "videostream",
            resume=command.resume,
            reason="it waits for its slot",
        )
        self._ledger.requests[request.id] = request
        self._ledger.unended += 1
        self._placing.queue(*place, request)
        self._ledger.add_files(request, files)
        self._ledger.note_request(request)
        self._placing.feed(*place)
        return self._requested(request)

    def _requested(self, request: Request) -> Body:
        status = start_status(request)
        position = self.position(request)
        if position is None:
            message = "handed to the app" if status == "started" else "queued"
        else:
            before = position - 1
            waits = {0: "it is next", 1: "1 request waits before it"}.get(
                before, f"{before} requests wait before it"
            )
            place = self._ledger.slot_of(request)
            is_free = place is not None and place[1].current is None
            message = request.reason if is_free and request.reason else f"the slot is busy: {waits}"
        return {
            "instance_id": request.instance_id,
            "stream_id": request.stream_id,
            "camera_id": request.camera_id,
            "status": status,
            "message": message,
            "state": request.state.value,
            "position": position,
        }

    def position(self, request: Request) -> int | None:
        """Where it stands in its line, from 1; None where it does not wait in one."""
        return self._ledger.line_of(request).position(request) if request.stage is Stage.LINE else None

    def _push(self, command: Push) -> Body:
        request = self._request(command.target)
        if request.closed or request.state in ENDED or request.ending is not None:
            raise Refused(409, f"{request.id} takes no more files")
        if request.kind == "videostream":
            raise Refused(409, "a videostream has no files")
        most = self._ledger.limits.request_files
        if len(request.files) + len(command.files) > most:
            raise Refused(409, f"{request.id} takes {most} files at most: end it, and begin a new one")
        files = self._files(command.files, request.files)
        request.closed = command.end
        self._ledger.add_files(request, files)
        self._ledger.note_request(request)
        place = self._ledger.slot_of(request)
        if request.stage is Stage.LINE and request.closed and not request.unfinished:
            self._endings.close_waiting(request)
            self._placing.release_all()
        elif place is not None and place[1].current is request:
            self._placing.push(*place, request)
        return self._changed(request, f"{len(files)} files were added")

    def _reorder(self, command: Reorder) -> Body:
        request = self._request(command.target)
        if request.stage is not Stage.LINE:
            raise Refused(409, f"{request.id} does not wait ({request.state.value})")
        if command.position < 1:
            raise Refused(422, "position: counts from 1")
        for moved in self._ledger.line_of(request).move(request, command.position):
            self._ledger.note_request(moved)
        self._ledger.restore_order(request.order)
        self._placing.release_all()
        return self._changed(request, "moved")

    def _cancel(self, command: Cancel) -> Body:
        request = self._request(command.target)
        if request.state in ENDED:
            raise Refused(409, f"{request.id} has ended already ({request.state.value})")
        return self._end(request, command.reason)

    def _interrupt(self, command: Interrupt) -> Body:
        app = self._app(command.instance_id)
        if command.stream_id >= len(app.slots):
            raise Refused(404, f"{app.instance_id} has no stream {command.stream_id}")
        slot = app.slots[command.stream_id]
        here = [*([] if slot.current is None else [slot.current]), *slot.line]
        request = next((other for other in here if other.camera_id == command.camera_id), None)
        if request is None:
            raise Refused(404, f"stream {command.stream_id} has no camera {command.camera_id}")
        status = "interrupting" if request is slot.current else "interrupted"
        self._end(request, command.reason)
        return {
            "status": status,
            "instance_id": app.instance_id,
            "stream_id": command.stream_id,
            "camera_id": command.camera_id,
            "reason": command.reason,
        }

    def _end(self, request: Request, reason: str) -> Body:
        place = self._ledger.slot_of(request)
        if request.stage is Stage.LINE:
            self._endings.cancel_waiting(request, reason)
            self._placing.release_all()
            return self._changed(request, "cancelled")
        assert place is not None
        if request.ending is None:
            self._placing.interrupt(*place, RequestState.INTERRUPTED, reason)
        return self._changed(request, "the app was asked to end it")

    def _changed(self, request: Request, message: str) -> Body:
        return {
            "success": True,
            "message": message,
            "target": request.id,
            "state": request.state.value,
            "position": self.position(request),
        }

    # ------------------------------------------------------------------------------------------

    def _files(self, given: tuple[FileGiven, ...], there: dict[int, File]) -> list[File]:
        limits = self._ledger.limits
        if self._ledger.unfinished + len(given) > limits.max_files:
            raise Refused(503, f"{limits.max_files} files may wait, {len(given)} more are too many")
        files = {
            file.file_id: File(file.file_id, file.file_path, file.file_name, file.output_path)
            for file in given
        }
        if len(files) < len(given) or not there.keys().isdisjoint(files):
            raise Refused(422, "files: a file_id is there twice")
        return list(files.values())

    def _open(self) -> None:
        if self._ledger.closing:
            raise Refused(503, "the server is ending")

    def _app(self, instance_id: str) -> App:
        app = self._ledger.apps.get(instance_id)
        if app is None:
            raise Refused(404, f"no instance {instance_id}")
        return app

    def _request(self, request_id: str) -> Request:
        request = self._ledger.requests.get(request_id)
        if request is None:
            raise Refused(404, f"no request {request_id}")
        return request
