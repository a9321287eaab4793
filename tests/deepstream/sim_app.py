"""An analysis app that behaves, written from the contract alone.

It shares no code with what is tested but the messages.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from siwatsystem.deepstream.messages import AppMessage, ServerMessage
from siwatsystem.deepstream.to_app import (
    ExecuteAck,
    InterruptAnalysis,
    PushedFile,
    PushFile,
    QueryAnalysisStatus,
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
    ProcessingStarted,
    PushAck,
    StreamStatus,
)


@dataclass
class Camera:
    camera_id: int
    run: Any
    files: deque[int] = field(default_factory=deque[int])
    at: int | None = None
    eos: bool = False
    done: int = 0
    stream: bool = False


@dataclass(eq=False)
class SimApp:
    """A process. `echo`: it repeats the run's id in all it says of a camera."""

    instance_id: str
    run: int
    config: str
    streams: int
    echo: bool = True
    tells_frames: bool = True
    connection: int | None = None
    ever_connected: bool = False
    alive: bool = True
    signalled: str | None = None
    slots: list[list[Camera]] = field(default_factory=list[list[Camera]])
    inbox: deque[ServerMessage] = field(default_factory=deque[ServerMessage])
    out: deque[AppMessage] = field(default_factory=deque[AppMessage])
    said: list[AppMessage] = field(default_factory=list[AppMessage])
    seen: set[Any] = field(default_factory=set[Any])
    ending: bool = False
    hung: set[int] = field(default_factory=set[int])
    """Slots that never do anything again."""
    frames: int = 0
    """Analysed so far."""

    def __post_init__(self) -> None:
        self.slots = [[] for _ in range(self.streams)]

    def say(self, message: AppMessage) -> None:
        self.out.append(message)

    def ready(self) -> AppReady:
        return AppReady(
            instance_id=self.instance_id,
            config_path=self.config,
            streams_count=self.streams,
            reconnection=self.ever_connected,
        )

    def read(self) -> None:
        """One message of the server."""
        message = self.inbox.popleft()
        if message.request_id is not None and not isinstance(message, QueryAnalysisStatus | ExecuteAck):
            if message.request_id in self.seen:
                return
            self.seen.add(message.request_id)
        match message:
            case StartAnalysis():
                line = self.slots[message.stream_id]
                line[:] = [camera for camera in line if camera.camera_id != message.camera_id]
                status = "queued" if line else "ok"
                stream = message.camera_type == "videostream"
                line.append(Camera(message.camera_id, message.request_id, stream=stream))
                self.say(self._answer(AnalysisStarted, message, status=status))
            case PushFile():
                camera = self._camera(message)
                if camera is None:
                    self.say(self._answer(PushAck, message, status="error", error_reason="no such camera"))
                    return
                for entry in message.files:
                    if not isinstance(entry, PushedFile):
                        camera.eos = True
                    elif entry.file_id not in camera.files and entry.file_id != camera.at:
                        camera.files.append(entry.file_id)
                self.say(self._answer(PushAck, message, status="ok"))
            case InterruptAnalysis():
                camera = self._camera(message)
                status = "ok" if camera else "error"
                if camera is not None:
                    self.slots[message.stream_id].remove(camera)
                self.say(self._answer(AnalysisInterrupted, message, status=status))
            case TerminateApp():
                self.ending = True
                self.say(AppTerminated())
            case QueryAnalysisStatus():
                self.say(self.status(message.request_id))
            case _:
                pass

    def _answer(self, kind: Any, message: Any, **fields: Any) -> Any:
        return kind(
            request_id=message.request_id if self.echo else None,
            stream_id=message.stream_id,
            camera_id=message.camera_id,
            **fields,
        )

    def _camera(self, message: Any) -> Camera | None:
        line = self.slots[message.stream_id]
        return next((camera for camera in line if camera.camera_id == message.camera_id), None)

    def status(self, request_id: Any = None) -> AnalysisStatus:
        streams = [
            StreamStatus(
                stream_id=number,
                status="running" if line else "idle",
                cameras=[
                    CameraStatus(
                        camera_id=camera.camera_id,
                        status="queued" if place else "running",
                        files=CameraFiles(
                            processing=[] if camera.at is None else [self._processing(camera.at)],
                            completed_count=camera.done,
                            queued_count=len(camera.files),
                            queued=[FileQueued(file_id=file_id) for file_id in camera.files],
                        ),
                    )
                    for place, camera in enumerate(line)
                ],
            )
            for number, line in enumerate(self.slots)
        ]
        return AnalysisStatus(request_id=request_id, streams=streams)

    def _processing(self, file_id: int) -> FileProcessing:
        if not self.tells_frames:
            return FileProcessing(file_id=file_id, progress_pct=50)
        return FileProcessing(file_id=file_id, progress_pct=50, frame=self.frames)

    def work(self, stream: int, *, fails: bool = False) -> bool:
        """One step of a slot; whether there was one to do."""
        line = self.slots[stream]
        if not line or self.ending or stream in self.hung:
            return False
        self.frames += 1
        camera = line[0]
        about: dict[str, Any] = {
            "stream_id": stream,
            "camera_id": camera.camera_id,
            "request_id": camera.run if self.echo else None,
        }
        if camera.at is not None:
            error = "cannot be read" if fails else None
            self.say(FileDone(**about, file_id=camera.at, processed_file="/r", frames=9, error=error))
            camera.at, camera.done = None, camera.done + 1
            return True
        if camera.files:
            camera.at = camera.files.popleft()
            self.say(ProcessingStarted(**about, file_id=camera.at, current_file="x"))
            return True
        if camera.eos:
            line.pop(0)
            self.say(AnalysisComplete(**about, processed_count=camera.done))
            return True
        return False
