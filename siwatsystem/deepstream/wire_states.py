"""The one place where states become the contract's words, and the state core's parts JSON values."""

from collections.abc import Iterable
from typing import Any

import orjson

from siwatsystem.deepstream.apps import App, Slot
from siwatsystem.deepstream.requests import File, Request
from siwatsystem.deepstream.states import AppState, FileState, RequestState, Stage
from siwatsystem.urls import bare
from siwatsystem.wire_time import wire_time

PROCESS_STATUS = {
    AppState.STARTING: "running",
    AppState.RUNNING: "running",
    AppState.STOPPING: "running",
    AppState.EXITED: "stopped",
    AppState.CRASHED: "error",
    AppState.BACKOFF: "error",
}
CAMERA_STATUS = {RequestState.QUEUED: "queued", RequestState.RUNNING: "running"}
FILE_STATUS = {state: "queued" if state is FileState.GIVEN else state.value for state in FileState}


def iso(seconds: float | None) -> str | None:
    """UTC with milliseconds."""
    return None if seconds is None else wire_time(seconds)


def instance_status(app: App) -> str:
    """idle, running, error or disconnected."""
    if app.state is AppState.CRASHED or any(slot.trouble for slot in app.slots):
        return "error"
    if app.connection is None:
        return "disconnected"
    return "running" if app.working else "idle"


def ws_status(app: App) -> str:
    """connected, disconnected or reconnecting."""
    if app.connection is not None:
        return "connected"
    return "reconnecting" if app.state is AppState.RUNNING else "disconnected"


def start_status(request: Request) -> str:
    """`started` is the contract's word for: it was handed to the app."""
    return "queued" if request.stage is Stage.LINE else "started"


def slot_status(app: App, slot: Slot) -> str:
    """running, idle or error."""
    if slot.trouble or app.state is AppState.CRASHED:
        return "error"
    return "idle" if slot.current is None else "running"


# --- the contract's bodies -------------------------------------------------------------------


def instance(app: App) -> dict[str, Any]:
    process = app.process
    return {
        "instance_id": app.instance_id,
        "config_path": app.spec.config_path,
        "streams_count": app.streams_count,
        "gpu_allocated": list(app.spec.gpu_allocated),
        "status": instance_status(app),
        "ws_status": ws_status(app),
        "launched_at": None if process is None else iso(process.launched_at),
        "log_path": None if process is None else process.log_path,
        "state": app.state.value,
        "reason": app.reason,
        "log_tail": list(app.log_tail),
    }


def process(app: App) -> dict[str, Any] | None:
    """None for an app that was only registered."""
    found = app.process
    if found is None:
        return None
    return {
        "process_id": found.id,
        "instance_id": app.instance_id,
        "config_path": app.spec.config_path,
        "docker_container": app.spec.docker_container,
        "host_pid": found.host_pid,
        "container_pid": found.container_pid,
        "status": PROCESS_STATUS[app.state],
        "launched_at": iso(found.launched_at),
        "log_path": found.log_path,
        "command": found.command,
        "error_message": app.reason if PROCESS_STATUS[app.state] == "error" else None,
        "state": app.state.value,
        "restarts": len(app.restarts),
    }


def processes(apps: Iterable[App]) -> dict[str, Any]:
    found = [body for app in apps if (body := process(app)) is not None]
    count = {
        status: sum(body["status"] == status for body in found) for status in set(PROCESS_STATUS.values())
    }
    return {
        "total_count": len(found),
        "running_count": count["running"],
        "stopped_count": count["stopped"],
        "error_count": count["error"],
        "processes": found,
    }


def camera(request: Request) -> dict[str, Any]:
    """A request as the contract's camera. Looks at every file that has not ended."""
    at = None if request.current is None else request.files[request.current]
    queued = [file.listed or _listed(file) for file in request.unfinished_files() if file is not at]
    return {
        "camera_id": request.camera_id,
        "status": CAMERA_STATUS.get(request.state, "queued"),
        "files": {
            "processing": [] if at is None else [_processing(at)],
            "completed_count": request.tally[FileState.DONE] + request.tally[FileState.FAILED],
            "queued_count": len(queued),
            "queued": orjson.Fragment(b"[%b]" % b",".join(queued)),
        },
        "request_id": request.id,
        "state": request.state.value,
        "reason": request.reason,
    }


def _listed(file: File) -> bytes:
    """JSON text: ten thousand objects for each who asks would keep the garbage collector busy."""
    text = orjson.dumps({"file_id": file.id, "file_name": file.name})
    file.listed = bytes(memoryview(text))  # without the room that orjson leaves behind it
    return file.listed


def stream(app: App, slot: Slot) -> dict[str, Any]:
    """A slot with its current camera and those that wait for it."""
    current = [] if slot.current is None else [slot.current]
    return {
        "stream_id": slot.stream_id,
        "status": slot_status(app, slot),
        "cameras": [camera(request) for request in [*current, *slot.line]],
    }


def metrics(app: App) -> dict[str, Any]:
    """Null where the app has told nothing yet."""
    nothing = dict.fromkeys(("cpu_percent", "ram_mb", "gpu_percent", "vram_mb", "timestamp"))
    found = {"instance_id": app.instance_id, **nothing, **(app.metrics or {})}
    speeds = [{"stream_id": slot.stream_id, "fps": slot.fps} for slot in app.slots if slot.fps is not None]
    return {**found, "streams": speeds} if speeds else found


# --- for those who follow changes ------------------------------------------------------------


def followed(app: App) -> dict[str, Any]:
    """An app with its last metrics, and with what it takes to launch it again."""
    return {
        **instance(app),
        "docker_container": app.spec.docker_container,
        "additional_args": list(app.spec.additional_args),
        "metrics": app.metrics,
    }


def slot(app: App, slot: Slot) -> dict[str, Any]:
    """A slot in a few words, the same size whatever waits for it."""
    request = slot.current
    at = None if request is None or request.current is None else request.files[request.current]
    return {
        "instance_id": app.instance_id,
        "stream_id": slot.stream_id,
        "status": slot_status(app, slot),
        "request_id": None if request is None else request.id,
        "camera_id": None if request is None else request.camera_id,
        "file": None if at is None else _processing(at),
        "waiting": len(slot.line),
        "load": slot.load,
        "done": slot.done,
        "failed": slot.failed,
        "fps": slot.fps,
    }


def request(request: Request) -> dict[str, Any]:
    """A request with its counts, not its files."""
    tally = request.tally
    return {
        "request_id": request.id,
        "camera_id": request.camera_id,
        "type": request.kind,
        "path": shown(request.path),
        "name": request.name,
        "output_dir": request.output_dir,
        "instance_id": request.instance_id,
        "stream_id": request.stream_id,
        "state": request.state.value,
        "reason": request.reason,
        "created_at": iso(request.created_at),
        "began_at": iso(request.began_at),
        "ended_at": iso(request.ended_at),
        "files": {
            "total": len(request.files),
            "queued": tally[FileState.WAITING] + tally[FileState.GIVEN],
            "processing": tally[FileState.PROCESSING],
            "done": tally[FileState.DONE],
            "failed": tally[FileState.FAILED],
            "cancelled": tally[FileState.CANCELLED],
        },
    }


def file(request: Request, file: File) -> dict[str, Any]:
    return {
        "request_id": request.id,
        "file_id": file.id,
        "file_path": shown(file.path),
        "file_name": file.name,
        "state": FILE_STATUS[file.state],
        "processed_file": file.result,
        "frames": file.frames,
        "detections": file.detections,
        "error": file.error,
    }


def shown(path: str) -> str:
    """As those may see it who only look: of an address neither login nor query."""
    return bare(path) if "://" in path else path


def _processing(file: File) -> dict[str, Any]:
    return {
        "file_id": file.id,
        "file_name": file.name,
        "progress_pct": file.percent,
        "frame": file.frame,
        "total_frames": file.total,
    }
