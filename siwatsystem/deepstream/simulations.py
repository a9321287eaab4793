"""Apps that are played by the test routes. They go through the same state core as real ones."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from siwatsystem.deepstream.admission import Refused
from siwatsystem.deepstream.apps import App
from siwatsystem.deepstream.connections import Connections
from siwatsystem.deepstream.driver import Driver
from siwatsystem.deepstream.events import Cancel, ConnectionLost, Received
from siwatsystem.deepstream.messages import AppMessage, ServerMessage
from siwatsystem.deepstream.samples import Samples
from siwatsystem.deepstream.to_app import (
    InterruptAnalysis,
    PushedFile,
    PushFile,
    QueryAnalysisStatus,
    QueryMetrics,
    StartAnalysis,
    TerminateApp,
)
from siwatsystem.deepstream.to_server import (
    AnalysisComplete,
    AnalysisInterrupted,
    AnalysisStarted,
    AnalysisStatus,
    AppReady,
    AppTerminated,
    CameraFiles,
    CameraStatus,
    FileDone,
    FileProcessing,
    FileQueued,
    MetricsResponse,
    ProcessingStarted,
    PushAck,
    StreamStatus,
)

STREAMS = 2
"""Slots of an app whose spec names no number."""
Action = Literal["start", "complete", "error"]


class NotSimulated(Exception):
    """Why it cannot be played."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.refused = Refused(status, reason)


@dataclass(eq=False)
class Camera:
    """`request_id`: the run that is meant, repeated in all that is said of it."""

    stream_id: int
    camera_id: int
    request_id: Any
    waiting: deque[PushedFile] = field(default_factory=deque[PushedFile])
    at: PushedFile | None = None
    ended: bool = False
    done: int = 0

    @property
    def about(self) -> dict[str, Any]:
        return {"request_id": self.request_id, "stream_id": self.stream_id, "camera_id": self.camera_id}


class SimulatedApp:
    """Accepts everything, and does with files what it is told to. A `connections.Line`."""

    def __init__(self, app: App, driver: Driver, connections: Connections, metrics: MetricsResponse) -> None:
        self.over = False
        self.instance_id = app.instance_id
        self._streams = app.spec.streams_count or app.streams_count or STREAMS
        self._driver = driver
        self._connections = connections
        self._metrics = metrics
        self._cameras: dict[int, Camera] = {}
        """By slot."""
        self.number = connections.add(self)

    def put(self, message: ServerMessage) -> None:
        answer = self._answer(message)
        if answer is not None:
            self._driver.tell(Received(self.number, answer))
        if isinstance(message, TerminateApp):
            self._leave()

    def end(self, code: int, reason: str) -> None:
        self._connections.remove(self.number)

    def leave(self) -> None:
        """End the connection."""
        if not self.over:
            self._leave()

    def _leave(self) -> None:
        self.over = True
        self._connections.remove(self.number)
        self._driver.tell(ConnectionLost(self.number))

    async def say(self, message: AppMessage) -> None:
        await self._driver.handle(Received(self.number, message))

    async def tell_metrics(self) -> None:
        await self.say(self._metrics)

    def ready(self, app: App) -> AppReady:
        return AppReady.model_validate(
            {
                "instance_id": self.instance_id,
                "config_path": app.spec.config_path,
                "streams_count": self._streams,
                "status": "ready",
                "version": "simulated",
            }
        )

    async def play(self, camera_id: int, file_id: int, action: Action) -> None:
        """Raises NotSimulated for a file that was not given to it."""
        camera = next((each for each in self._cameras.values() if each.camera_id == camera_id), None)
        if camera is None:
            raise NotSimulated(404, f"{self.instance_id} has no camera {camera_id}")
        at = camera.at if camera.at is not None and camera.at.file_id == file_id else None
        file = at or next((each for each in camera.waiting if each.file_id == file_id), None)
        if file is None:
            raise NotSimulated(404, f"camera {camera_id} of {self.instance_id} was not given file {file_id}")
        if at is None:
            if camera.at is not None:
                raise NotSimulated(409, f"file {camera.at.file_id} is being analysed")
            camera.waiting.remove(file)
            camera.at = file
            await self.say(ProcessingStarted(**camera.about, file_id=file_id, current_file=file.file_path))
        if action == "start":
            return
        camera.at, camera.done = None, camera.done + 1
        error = "simulated" if action == "error" else None
        result = "" if error else f"{file.output_path or file.file_path}.jsonl"
        await self.say(
            FileDone(**camera.about, file_id=file_id, processed_file=result, frames=1, error=error)
        )
        if camera.ended and not camera.waiting:
            self._cameras.pop(camera.stream_id, None)
            await self.say(AnalysisComplete(**camera.about, processed_count=camera.done))

    def _answer(self, message: ServerMessage) -> AppMessage | None:
        match message:
            case StartAnalysis():
                camera = Camera(message.stream_id, message.camera_id, message.request_id)
                self._cameras[message.stream_id] = camera
                return AnalysisStarted(**camera.about, status="ok")
            case PushFile():
                return self._pushed(message)
            case InterruptAnalysis():
                self._cameras.pop(message.stream_id, None)
                return AnalysisInterrupted(
                    request_id=message.request_id, stream_id=message.stream_id, camera_id=message.camera_id
                )
            case TerminateApp():
                return AppTerminated(request_id=message.request_id)
            case QueryMetrics():
                return self._metrics.model_copy(update={"request_id": message.request_id})
            case QueryAnalysisStatus():
                streams = [self._stream(number) for number in range(self._streams)]
                return AnalysisStatus(request_id=message.request_id, streams=streams)
            case _:
                return None

    def _pushed(self, message: PushFile) -> PushAck:
        camera = self._cameras.get(message.stream_id)
        known = camera is not None and camera.camera_id == message.camera_id
        if camera is not None and known:
            files = [entry for entry in message.files if isinstance(entry, PushedFile)]
            camera.waiting.extend(files)
            camera.ended = camera.ended or len(files) < len(message.files)
        return PushAck(
            request_id=message.request_id,
            stream_id=message.stream_id,
            camera_id=message.camera_id,
            status="ok" if known else "error",
        )

    def _stream(self, number: int) -> StreamStatus:
        camera = self._cameras.get(number)
        if camera is None:
            return StreamStatus(stream_id=number, status="idle")
        at = camera.at
        files = CameraFiles(
            processing=[] if at is None else [_processing(at)],
            completed_count=camera.done,
            queued_count=len(camera.waiting),
            queued=[FileQueued(file_id=file.file_id, file_name=file.file_name) for file in camera.waiting],
        )
        told = CameraStatus(camera_id=camera.camera_id, status="running", files=files, reason=None)
        return StreamStatus(stream_id=number, status="running", cameras=[told])


def _processing(file: PushedFile) -> FileProcessing:
    return FileProcessing.model_validate({"file_id": file.file_id, "file_name": file.file_name})


class Simulations:
    """One simulated app per instance at most."""

    def __init__(self, driver: Driver, connections: Connections, samples: Samples) -> None:
        self._driver = driver
        self._connections = connections
        self._samples = samples
        self._apps: dict[str, SimulatedApp] = {}

    async def handshake(self, instance_id: str) -> None:
        """Let the instance connect. Raises NotSimulated."""
        app = self._app(instance_id)
        if app.connection is not None:
            raise NotSimulated(409, f"{instance_id} is connected already")
        if app.process is not None:
            raise NotSimulated(409, f"{instance_id} was launched: its own app is to connect")
        samples = self._samples.metrics
        metrics = samples[0] if samples else MetricsResponse.model_validate({"cpu_percent": 0, "ram_mb": 0})
        simulated = SimulatedApp(app, self._driver, self._connections, metrics)
        self._apps[instance_id] = simulated
        await simulated.say(simulated.ready(app))
        if self._app(instance_id).connection != simulated.number:
            simulated.leave()
            raise NotSimulated(409, f"{instance_id} was refused")

    async def metrics(self, instance_id: str) -> None:
        await self._simulated(instance_id).tell_metrics()

    async def file(self, instance_id: str, camera_id: int, file_id: int, action: Action) -> None:
        await self._simulated(instance_id).play(camera_id, file_id, action)

    async def reset(self, instance_id: str) -> None:
        """End what the instance does, and its simulated connection."""
        app = self._app(instance_id)
        simulated = self._apps.get(instance_id)
        if app.connection is not None and (simulated is None or simulated.number != app.connection):
            raise NotSimulated(409, f"{instance_id} is a real app: terminate it instead")
        slots = [[*([slot.current] if slot.current else []), *slot.line] for slot in app.slots]
        for number, request in enumerate(request for slot in slots for request in slot):
            command = f"reset:{id(app):x}:{self._driver.now}:{number}"
            await self._driver.ask(Cancel(command, request.id, "the instance was reset"))
        if simulated is not None and not simulated.over:
            await simulated.say(AppTerminated(message="reset"))
            simulated.leave()
        self._apps.pop(instance_id, None)

    def _app(self, instance_id: str) -> App:
        app = self._driver.control.app(instance_id)
        if app is None:
            raise NotSimulated(404, f"no instance {instance_id}")
        return app

    def _simulated(self, instance_id: str) -> SimulatedApp:
        app, simulated = self._app(instance_id), self._apps.get(instance_id)
        if simulated is None or simulated.over or app.connection != simulated.number:
            raise NotSimulated(409, f"{instance_id} is not simulated: simulate its handshake first")
        return simulated
