"""Bodies of the control server's REST routes, asked and answered. Existing clients send and read these."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from siwatsystem.deepstream.fields import (
    Amount,
    CameraId,
    Count,
    FileId,
    Gpu,
    NeededPlace,
    StreamsCount,
    Wire,
)
from siwatsystem.deepstream.to_server import GpuUse, StreamSpeed
from siwatsystem.messages import PRINTABLE, Text

CommandId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        pattern=PRINTABLE,
        description="Made up by the client (extension): a command that is sent again changes nothing",
    ),
]
InstanceName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
"""Goes into file names, environments and command lines."""
ContainerName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Argument = Annotated[str, Field(max_length=1024, pattern=PRINTABLE)]


class Command(Wire):
    """What a client wants to be done."""

    request_id: CommandId | None = None


class Answer(Wire):
    """What every answer to a command may say (extensions)."""

    request_id: str | None = None


class Refusal(Wire):
    """Why a command was not carried out; `detail` and `message` are the same."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "success": False,
        "message": "no instance is connected",
        "detail": "no instance is connected",
    }
    success: Literal[False] = False
    message: str
    detail: str


# --- processes -------------------------------------------------------------------------------


class Launch(Command):
    """Start an app: as a local process, or in a container with `docker exec`."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "config_path": "/configs/cars.txt",
        "streams_count": 4,
        "gpu_allocated": [0],
        "additional_args": ["--verbose"],
    }
    MORE = (
        {"config_path": "/configs/cars.toml"},
        {"config_path": "/configs/cars.txt", "instance_id": "gate", "docker_container": "deepstream"},
    )
    config_path: NeededPlace
    streams_count: StreamsCount | None = None
    gpu_allocated: list[Gpu] | None = Field(None, max_length=64)
    instance_id: InstanceName | None = Field(None, description="Made up where it is not given")
    docker_container: ContainerName | None = None
    additional_args: list[Argument] | None = Field(None, max_length=64)

    @model_validator(mode="after")
    def _check(self) -> "Launch":
        gpus = self.gpu_allocated or []
        if len(set(gpus)) < len(gpus):
            raise ValueError("gpu_allocated names a GPU twice")
        return self


class Launched(Answer):
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "success": True,
        "message": "launched",
        "process_id": "proc_stream_1763700000_0a1b2c3d",
        "instance_id": "stream_1763700000_0a1b2c3d",
        "host_pid": 4711,
        "log_path": "logs/apps/stream_1763700000_0a1b2c3d.log",
    }
    success: bool
    message: str
    process_id: str
    instance_id: str
    host_pid: int | None
    log_path: str | None


class Process(Wire):
    """An app's process; a restart of the app keeps its `process_id`."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "process_id": "proc_stream_1763700000_0a1b2c3d",
        "instance_id": "stream_1763700000_0a1b2c3d",
        "config_path": "/configs/cars.txt",
        "docker_container": None,
        "host_pid": 4711,
        "container_pid": None,
        "status": "running",
        "launched_at": "2026-11-21T08:00:00.000Z",
        "log_path": "logs/apps/stream_1763700000_0a1b2c3d.log",
        "command": "python -m siwatsystem analyze",
        "error_message": None,
        "state": "running",
        "restarts": 0,
    }
    process_id: str
    instance_id: str
    config_path: str
    docker_container: str | None
    host_pid: int | None
    container_pid: int | None
    status: Literal["running", "stopped", "error"]
    launched_at: str | None
    log_path: str | None
    command: str
    error_message: str | None
    state: str | None = Field(
        None, description="starting, running, stopping, exited, crashed or backoff (extension)"
    )
    restarts: int | None = Field(None, description="Within the budget's window (extension)")


class Processes(Wire):
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "total_count": 1,
        "running_count": 1,
        "stopped_count": 0,
        "error_count": 0,
        "processes": [Process.EXAMPLE],
    }
    total_count: int
    running_count: int
    stopped_count: int
    error_count: int
    processes: list[Process]


class Logs(Wire):
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "success": True,
        "message": "2 lines",
        "log_content": "loaded\nready\n",
        "lines_requested": 100,
        "process_id": "proc_stream_1763700000_0a1b2c3d",
    }
    success: bool
    message: str
    log_content: str
    lines_requested: Annotated[int, Field(ge=1, le=1000)]
    process_id: str


class Done(Answer):
    """What was done to an app or a process: terminated, cleaned up."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "success": True,
        "message": "the app was asked to end",
        "instance_id": "stream_1763700000_0a1b2c3d",
    }
    success: bool
    message: str
    instance_id: str | None = None
    process_id: str | None = None
    removed: int | None = Field(None, description="Processes that a clean-up forgot (extension)")


# --- instances -------------------------------------------------------------------------------


class Instance(Wire):
    """An app, as the server sees it."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "instance_id": "stream_1763700000_0a1b2c3d",
        "config_path": "/configs/cars.txt",
        "streams_count": 4,
        "gpu_allocated": [0],
        "status": "running",
        "ws_status": "connected",
        "launched_at": "2026-11-21T08:00:00.000Z",
        "log_path": "logs/apps/stream_1763700000_0a1b2c3d.log",
        "state": "running",
        "reason": None,
        "log_tail": None,
    }
    instance_id: str
    config_path: str
    streams_count: int | None
    gpu_allocated: list[int] | None
    status: Literal["idle", "running", "error", "disconnected"]
    ws_status: Literal["connected", "disconnected", "reconnecting"]
    launched_at: str | None
    log_path: str | None
    state: str | None = Field(
        None, description="starting, running, stopping, exited, crashed or backoff (extension)"
    )
    reason: str | None = Field(None, description="Why it is in that state (extension)")
    log_tail: list[str] | None = Field(None, description="What a crashed app logged last (extension)")


# --- metrics and health ----------------------------------------------------------------------


class Metrics(Wire):
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "instance_id": "stream_1763700000_0a1b2c3d",
        "cpu_percent": 35.5,
        "ram_mb": 812.0,
        "gpu_percent": 71.0,
        "vram_mb": 2048.0,
        "timestamp": "2026-11-21T08:00:05Z",
        "gpus": [GpuUse.EXAMPLE],
        "streams": [StreamSpeed.EXAMPLE],
    }
    instance_id: str
    cpu_percent: Amount | None
    ram_mb: Amount | None
    gpu_percent: Amount | None
    vram_mb: Amount | None
    timestamp: str | float | None
    gpus: list[GpuUse] | None = None
    streams: list[StreamSpeed] | None = Field(None, description="Of an app that tells them (extension)")


class Health(Wire):
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "status": "healthy",
        "connected_instances": 1,
        "total_instances": 1,
        "total_processes": 1,
        "running_processes": 1,
        "problems": [],
    }
    status: Literal["healthy", "degraded", "shutting_down"]
    connected_instances: Count
    total_instances: Count
    total_processes: Count
    running_processes: Count
    problems: list[str] | None = Field(None, description="What is wrong, for people (extension)")


# --- test ------------------------------------------------------------------------------------


class SimulateFileProcessing(Wire):
    """Let a registered app seem to begin, end or fail a file."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"camera_id": 3, "file_id": 7, "action": "start"}
    camera_id: CameraId
    file_id: FileId
    action: Literal["start", "complete", "error"]


class Simulated(Wire):
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "success": True,
        "message": "the app is connected",
        "instance_id": "stream_alpha",
    }
    success: bool
    message: Text
    instance_id: str


class Scenarios(Wire):
    """What can be tried by hand."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "scenarios": [
            {
                "name": "success",
                "instance_id": "stream_alpha",
                "steps": ["POST /deepstream/test/simulate-handshake/stream_alpha"],
                "expected": {"state": "done", "done": 2, "failed": 0},
            }
        ],
        "error_scenarios": [
            {"name": "no such instance", "request": "GET /deepstream/instances/stream_omega", "status": 404}
        ],
    }
    scenarios: list[dict[str, Any]]
    error_scenarios: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
