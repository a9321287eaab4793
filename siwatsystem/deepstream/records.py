"""Plain records of the state, one per app, request, file and answer; and back.

All records together are the whole state that survives a restart: what only an app knows (which file it
is at, its connection) is asked again when it connects.
"""

from typing import Any

from siwatsystem.deepstream.answers import Given
from siwatsystem.deepstream.apps import App, Process, Spec
from siwatsystem.deepstream.requests import File, Request
from siwatsystem.deepstream.states import FINISHED, AppState, FileState, RequestState, Stage

VERSION = 1


def file_key(request: Request, file: File) -> str:
    return f"{request.id}/{file.id}"


def app_record(app: App) -> dict[str, Any]:
    process = app.process
    return {
        "instance_id": app.instance_id,
        "config_path": app.spec.config_path,
        "wanted_streams": app.spec.streams_count,
        "gpu_allocated": list(app.spec.gpu_allocated),
        "docker_container": app.spec.docker_container,
        "additional_args": list(app.spec.additional_args),
        "streams_count": app.streams_count,
        "state": app.state.value,
        "reason": app.reason,
        "log_tail": list(app.log_tail),
        "run": app.run,
        "restarts": list(app.restarts),
        "again": app.again,
        "blamed": app.blamed,
        "tells_frames": app.tells_frames,
        "asked_by": None if app.asked_by is None else list(app.asked_by),
        "process": None
        if process is None
        else {
            "id": process.id,
            "launched_at": process.launched_at,
            "host_pid": process.host_pid,
            "container_pid": process.container_pid,
            "log_path": process.log_path,
            "command": process.command,
            "exit_code": process.exit_code,
            "alive": process.alive,
        },
    }


def read_app(record: dict[str, Any]) -> App:
    process, asked_by = record["process"], record["asked_by"]
    return App(
        instance_id=record["instance_id"],
        spec=Spec(
            record["config_path"],
            record["wanted_streams"],
            tuple(record["gpu_allocated"]),
            record["docker_container"],
            tuple(record["additional_args"]),
        ),
        state=AppState(record["state"]),
        reason=record["reason"],
        log_tail=tuple(record["log_tail"]),
        process=None if process is None else Process(**process),
        run=record["run"],
        restarts=list(record["restarts"]),
        again=record["again"],
        blamed=record.get("blamed", False),
        tells_frames=record.get("tells_frames", False),
        asked_by=None if asked_by is None else (asked_by[0], asked_by[1]),
        streams_count=record["streams_count"],
    )


def request_record(request: Request) -> dict[str, Any]:
    return {
        "id": request.id,
        "camera_id": request.camera_id,
        "kind": request.kind,
        "path": request.path,
        "name": request.name,
        "output_dir": request.output_dir,
        "created_at": request.created_at,
        "order": request.order,
        "wanted_instance": request.wanted_instance,
        "wanted_stream": request.wanted_stream,
        "closed": request.closed,
        "resume": request.resume,
        "state": request.state.value,
        "reason": request.reason,
        "stage": request.stage.value,
        "ending": None if request.ending is None else request.ending.value,
        "attempt": request.attempt,
        "fruitless": request.fruitless,
        # Seldom there: an earlier release reads no record with a key that it does not know.
        **({"given_up": request.given_up} if request.given_up else {}),
        "series": request.series,
        "instance_id": request.instance_id,
        "stream_id": request.stream_id,
        "began_at": request.began_at,
        "ended_at": request.ended_at,
    }


def read_request(record: dict[str, Any]) -> Request:
    ending = record["ending"]
    fields: dict[str, Any] = {
        **record,
        "state": RequestState(record["state"]),
        "stage": Stage(record["stage"]),
        "ending": None if ending is None else RequestState(ending),
    }
    return Request(**fields)


def file_record(request: Request, file: File) -> dict[str, Any]:
    """What an app has in hand is only waiting, as far as the disk is concerned."""
    state = file.state if file.state in FINISHED else FileState.WAITING
    return {
        "request_id": request.id,
        "id": file.id,
        "index": file.index,
        "path": file.path,
        "name": file.name,
        "output": file.output,
        "state": state.value,
        "attempts": file.attempts,
        "error": file.error,
        "result": file.result,
        "frames": file.frames,
        "detections": file.detections,
        "by": None if file.by is None else list(file.by),
    }


def read_file(record: dict[str, Any]) -> File:
    fields = {key: value for key, value in record.items() if key != "request_id"}
    by = fields.pop("by")
    state = FileState(fields.pop("state"))
    return File(**fields, state=state, by=None if by is None else (by[0], by[1]))


def answer_record(given: Given) -> dict[str, Any]:
    return {"fingerprint": given.fingerprint, "status": given.status, "body": given.body}


def read_answer(record: dict[str, Any]) -> Given:
    return Given(record["fingerprint"], record["status"], record["body"])
