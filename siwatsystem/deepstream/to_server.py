"""What an analysis app says to the control server."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from siwatsystem.deepstream.fields import (
    MAX_FILES,
    Acknowledged,
    Amount,
    CameraId,
    Count,
    FileId,
    Gpu,
    NeededPlace,
    OfCamera,
    Percent,
    Place,
    Remark,
    Said,
    StreamId,
    StreamsCount,
    Text,
    Timestamp,
    Whole,
    Wire,
)
from siwatsystem.messages import Identifier


class GpuUse(Wire):
    """One GPU (extension)."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"gpu": 0, "gpu_percent": 71.0, "vram_mb": 2048.0}
    gpu: Gpu
    uuid: Text | None = Field(None, description="The driver's: numbers are the same on every machine")
    host: Text | None = Field(None, description="The machine it is in")
    gpu_percent: Percent | None = None
    vram_mb: Amount | None = None
    vram_total_mb: Amount | None = None


class StreamSpeed(Wire):
    """Frames a second that a slot analyses (extension)."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"stream_id": 0, "fps": 48.5}
    stream_id: StreamId
    fps: Amount


class FileProcessing(Wire):
    """A file that is being analysed."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "file_id": 7,
        "file_name": "b.mp4",
        "progress_pct": 40.0,
        "frame": 120,
        "total_frames": 300,
    }
    file_id: FileId
    file_name: Place = ""
    progress_pct: Percent = 0.0
    frame: Count | None = Field(None, description="Frames analysed (extension)")
    total_frames: Count | None = Field(
        None, description="Frames that it has, where that is known (extension)"
    )


class FileQueued(Wire):
    """A file that waits in the app."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"file_id": 8, "file_name": "c.mp4"}
    file_id: FileId
    file_name: Place = ""


class CameraFiles(Wire):
    """The files of a camera, as the app has them."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "processing": [FileProcessing.EXAMPLE],
        "completed_count": 6,
        "queued_count": 1,
        "queued": [FileQueued.EXAMPLE],
    }
    processing: list[FileProcessing] = Field(default_factory=list[FileProcessing], max_length=MAX_FILES)
    completed_count: Count = 0
    queued_count: Count = 0
    queued: list[FileQueued] = Field(default_factory=list[FileQueued], max_length=MAX_FILES)


class CameraStatus(Wire):
    """A camera in a slot."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"camera_id": 3, "status": "running", "files": CameraFiles.EXAMPLE}
    camera_id: CameraId
    status: Literal["running", "queued"]
    files: CameraFiles = Field(default_factory=CameraFiles)
    reason: Remark | None = Field(None, description="Why nothing comes of it just now (extension)")


class StreamStatus(Wire):
    """A slot."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "stream_id": 0,
        "status": "running",
        "cameras": [CameraStatus.EXAMPLE],
    }
    stream_id: StreamId
    status: Literal["running", "idle", "error"]
    cameras: list[CameraStatus] = Field(default_factory=list[CameraStatus], max_length=MAX_FILES)


class AppReady(Said):
    """The first message of an app, and the first after a lost connection."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "app_ready",
        "instance_id": "stream_1763700000_0a1b2c3d",
        "config_path": "/configs/cars.txt",
        "process_id": 4711,
        "streams_count": 4,
        "status": "ready",
        "version": "1.0",
        "start_time": "2026-11-21T08:00:00Z",
        "gpu_allocated": [0],
    }
    MORE = (
        {
            "type": "app_ready",
            "instance_id": "stream_1763700000_0a1b2c3d",
            "config_path": "/configs/cars.txt",
            "process_id": 4711,
            "streams_count": 4,
            "status": "ready",
            "version": "1.0",
            "start_time": "2026-11-21T08:00:00Z",
            "reconnection": True,
            "last_close_code": 1006,
        },
    )
    type: Literal["app_ready"] = "app_ready"
    instance_id: Identifier
    config_path: NeededPlace
    process_id: Whole | Text | None = None
    streams_count: StreamsCount
    status: Text = ""
    version: Text | None = None
    start_time: Timestamp | None = None
    gpu_allocated: list[Gpu] | None = Field(None, max_length=1024)
    reconnection: bool = False
    last_close_code: Whole | None = None


class AnalysisStarted(OfCamera):
    """The answer to `start_analysis`. Accepted is not running: that begins with the first frame."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "analysis_started",
        "request_id": "run:r1#1",
        "stream_id": 0,
        "camera_id": 3,
        "status": "ok",
    }
    type: Literal["analysis_started"] = "analysis_started"
    status: Acknowledged
    message: Remark | None = None
    error_reason: Remark | None = None


class PushAck(OfCamera):
    """The answer to `push_file`."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "push_ack",
        "request_id": "run:r1#1/0.1",
        "stream_id": 0,
        "camera_id": 3,
        "status": "ok",
    }
    type: Literal["push_ack"] = "push_ack"
    status: Acknowledged
    error_reason: Remark | None = None


class ProcessingStarted(OfCamera):
    """The first frame of a file was analysed."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "processing_started",
        "stream_id": 0,
        "camera_id": 3,
        "file_id": 7,
        "current_file": "/videos/b.mp4",
    }
    type: Literal["processing_started"] = "processing_started"
    file_id: FileId
    current_file: Place = ""
    total_frames: Count | None = Field(None, description="Extension")


class FileDone(OfCamera):
    """A file was analysed to its end, or (extension `error`) cannot be."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "file_done",
        "stream_id": 0,
        "camera_id": 3,
        "file_id": 7,
        "processed_file": "/results/b.jsonl",
        "frames": 300,
        "detections": 41,
    }
    type: Literal["file_done"] = "file_done"
    file_id: FileId
    processed_file: Place = ""
    frames: Count | None = Field(None, description="Extension")
    detections: Count | None = Field(None, description="Extension")
    error: Remark | None = Field(None, description="Why it could not be analysed (extension)")


class AnalysisComplete(OfCamera):
    """A camera has ended: all files up to the end mark are done."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "analysis_complete",
        "stream_id": 0,
        "camera_id": 3,
        "status": "done",
        "processed_count": 12,
        "message": "",
    }
    type: Literal["analysis_complete"] = "analysis_complete"
    status: Text = "done"
    processed_count: Count = 0
    message: Remark | None = None


class AnalysisInterrupted(OfCamera):
    """The answer to `interrupt_analysis`. With `status` "error", and nobody has asked: the app gave it up."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "analysis_interrupted",
        "stream_id": 0,
        "camera_id": 3,
        "status": "ok",
    }
    type: Literal["analysis_interrupted"] = "analysis_interrupted"
    status: Text = "ok"
    message: Remark | None = None
    error_reason: Remark | None = None


class AppTerminated(Said):
    """The app ends now, asked or not."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "app_terminated",
        "status": "ok",
        "message": "3 cameras were ended",
    }
    type: Literal["app_terminated"] = "app_terminated"
    status: Text = "ok"
    message: Remark | None = None


class MetricsResponse(Said):
    """What the app uses; null for a GPU that there is not."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "metrics_response",
        "cpu_percent": 35.5,
        "ram_mb": 812.0,
        "gpu_percent": 71.0,
        "vram_mb": 2048.0,
        "timestamp": "2026-11-21T08:00:05Z",
        "gpus": [GpuUse.EXAMPLE],
        "streams": [StreamSpeed.EXAMPLE],
    }
    type: Literal["metrics_response"] = "metrics_response"
    cpu_percent: Amount
    ram_mb: Amount
    gpu_percent: Percent | None = None
    vram_mb: Amount | None = None
    timestamp: Timestamp | None = None
    gpus: list[GpuUse] | None = Field(None, max_length=1024)
    streams: list[StreamSpeed] | None = Field(None, max_length=256)


class AnalysisStatus(Said):
    """What the slots do: all of them, one, or one camera. Sent when asked, and as progress unasked."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "analysis_status",
        "timestamp": "2026-11-21T08:00:05Z",
        "streams": [StreamStatus.EXAMPLE],
    }
    MORE = (
        {"type": "analysis_status", "timestamp": "2026-11-21T08:00:05Z", "stream": StreamStatus.EXAMPLE},
        {
            "type": "analysis_status",
            "timestamp": "2026-11-21T08:00:05Z",
            "stream_id": 0,
            "camera": CameraStatus.EXAMPLE,
        },
    )
    type: Literal["analysis_status"] = "analysis_status"
    timestamp: Timestamp | None = None
    streams: list[StreamStatus] | None = Field(None, max_length=256)
    stream: StreamStatus | None = None
    stream_id: StreamId | None = None
    camera: CameraStatus | None = None

    def slots(self) -> list[StreamStatus]:
        """What it tells, whichever form it has."""
        if self.streams is not None:
            return self.streams
        if self.stream is not None:
            return [self.stream]
        if self.camera is not None and self.stream_id is not None:
            return [StreamStatus(stream_id=self.stream_id, status="running", cameras=[self.camera])]
        return []
