"""What the control server says to an analysis app."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from siwatsystem.deepstream.fields import (
    MAX_FILES,
    CameraId,
    CameraType,
    Count,
    FileId,
    FirstFrame,
    NamedCamera,
    NeededPlace,
    OfCamera,
    Place,
    Remark,
    Said,
    StreamId,
    Text,
    Timestamp,
    Wire,
)
from siwatsystem.messages import Identifier


class PushedFile(Wire):
    """A file to analyse."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "file_type": "file",
        "file_id": 7,
        "file_path": "/videos/b.mp4",
        "file_name": "b.mp4",
        "output_path": "/results/b",
    }
    file_type: Literal["file"] = "file"
    file_id: FileId
    file_path: NeededPlace
    file_name: Place = ""
    output_path: Place = ""
    start_frame: FirstFrame | None = None


class EndMark(Wire):
    """No file comes after it: the camera ends with the files before."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"file_type": "eos"}
    file_type: Literal["eos"] = "eos"


HandshakeError = Literal["CONFIG_MISMATCH", "STREAMS_COUNT_MISMATCH", "UNKNOWN_INSTANCE"]


class ExecuteAck(Said):
    """The answer to `app_ready`; with `status: error` the connection is closed after it."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "execute_ack",
        "instance_id": "stream_1763700000_0a1b2c3d",
        "status": "error",
        "config_verified": False,
        "streams_count_verified": True,
        "expected_config": "/configs/cars.txt",
        "received_config": "/configs/vans.txt",
        "error_code": "CONFIG_MISMATCH",
        "error_message": "the app runs another config than it was launched with",
        "timestamp": "2026-11-21T08:00:00.000Z",
    }
    MORE = (
        {
            "type": "execute_ack",
            "instance_id": "stream_1763700000_0a1b2c3d",
            "status": "ok",
            "config_verified": True,
            "streams_count_verified": True,
            "timestamp": "2026-11-21T08:00:00.000Z",
        },
    )
    type: Literal["execute_ack"] = "execute_ack"
    instance_id: Identifier
    status: Literal["ok", "error"]
    config_verified: bool
    streams_count_verified: bool
    expected_config: Place | None = None
    received_config: Place | None = None
    error_code: HandshakeError | None = None
    error_message: Remark | None = None
    timestamp: Timestamp


class ReconnectionAck(ExecuteAck):
    """What an app that connects again is told beside `execute_ack`."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "reconnection_ack",
        "instance_id": "stream_1763700000_0a1b2c3d",
        "status": "ok",
        "config_verified": True,
        "streams_count_verified": True,
        "timestamp": "2026-11-21T08:00:00.000Z",
        "session_restored": True,
        "server_status": "running",
    }
    MORE = ()
    type: Literal["reconnection_ack"] = "reconnection_ack"  # pyright: ignore[reportIncompatibleVariableOverride]
    session_restored: bool
    server_status: Text


class StartAnalysis(OfCamera, NamedCamera):
    """Begin a camera in a slot; a slot that is busy queues it."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "start_analysis",
        "request_id": "run:r1#1",
        "stream_id": 0,
        "camera_id": 3,
        "camera_type": "fileset",
        "path": "/videos",
        "name": "Gate",
        "output_dir": "/results",
        "init_file": "/videos/a.mp4",
        "camera_path": "/videos",
        "camera_name": "Gate",
    }
    type: Literal["start_analysis"] = "start_analysis"
    camera_type: CameraType
    output_dir: Place = ""
    init_file: Place | None = None


class PushFile(OfCamera):
    """Files for a camera, in order; after the end mark none comes."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "push_file",
        "request_id": "run:r1#1/0.1",
        "stream_id": 0,
        "camera_id": 3,
        "files_count": 1,
        "files": [PushedFile.EXAMPLE, EndMark.EXAMPLE],
    }
    type: Literal["push_file"] = "push_file"
    files_count: Count = Field(description="Without the end mark")
    files: list[Annotated[PushedFile | EndMark, Field(discriminator="file_type")]] = Field(
        max_length=MAX_FILES + 1
    )


class InterruptAnalysis(OfCamera):
    """End a camera now; the app goes on."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "interrupt_analysis",
        "stream_id": 0,
        "camera_id": 3,
        "reason": "not needed any more",
    }
    type: Literal["interrupt_analysis"] = "interrupt_analysis"
    reason: Remark = ""


class TerminateApp(Said):
    """End all cameras and yourself."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"type": "terminate_app", "request_id": "stop:1"}
    type: Literal["terminate_app"] = "terminate_app"


class QueryMetrics(Said):
    """Asks for `metrics_response`."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"type": "query_metrics", "request_id": "m1"}
    type: Literal["query_metrics"] = "query_metrics"


class QueryAnalysisStatus(Said):
    """Asks for `analysis_status`: of all slots, one, or one camera."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"type": "query_analysis_status", "stream_id": 0}
    type: Literal["query_analysis_status"] = "query_analysis_status"
    stream_id: StreamId | None = None
    camera_id: CameraId | None = None
