"""Analyses: start, interrupt, and what the slots do."""

import time
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, HTTPException, Query, Request

from siwatsystem.deepstream import events, wire_states
from siwatsystem.deepstream.apps import App, Slot
from siwatsystem.deepstream.events import FileGiven
from siwatsystem.deepstream.fields import MAX_STREAMS
from siwatsystem.deepstream.media import NotTaken, apart, is_video
from siwatsystem.deepstream.openapi import INVALID
from siwatsystem.deepstream.rest_analysis import (
    AnalysisRequested,
    GivenFile,
    InstanceStatus,
    InstanceStreams,
    Interrupted,
    StartAnalysis,
)
from siwatsystem.deepstream.routes.replies import (
    ENDING,
    NO_INSTANCE,
    USED,
    Json,
    Repeatable,
    app_of,
    ask,
    made_up,
    refusals,
    service_of,
)
from siwatsystem.deepstream.service import Service

Found = TypeVar("Found")

router = APIRouter(prefix="/deepstream/analysis", tags=["analysis"])

Stream = Annotated[int, Query(ge=0, lt=MAX_STREAMS, description="A slot of the app, from 0")]
Camera = Annotated[int, Query(ge=-(2**63), lt=2**63, description="The caller's own number")]
"""As they stand in an address: text, unlike in a body."""


@router.post(
    "/start",
    response_model=AnalysisRequested,
    responses=refusals(
        _403="The folder is none that the settings allow",
        _404="No such instance, folder or file",
        _409=USED,
        _422=f"{INVALID}; a folder without videos, a file that is none",
        _503="No instance is connected, or too much waits",
    ),
)
async def start(request: Request, body: StartAnalysis) -> Json:
    """Queue a camera. It is handed to an app at once where a slot is free."""
    return await ask(request, await start_command(service_of(request), body))


async def start_command(service: Service, body: StartAnalysis) -> events.Start:
    """Raises HTTPException for files that are not taken."""
    request_id = made_up(body.request_id)
    known = service.control.request(request_id)
    if body.files is not None and service.control.knows(request_id):
        files = named(body.files, body.output_dir)
    elif known is not None and body.type != "videostream":
        # The same command again: what the folder has now does not matter.
        files = [FileGiven(file.id, file.path, file.name, file.output) for file in known.files.values()]
    else:
        files = await _files(service, body)
    return events.Start(
        request_id=request_id,
        camera_id=body.camera_id,
        kind=body.type,
        path=body.path,
        name=body.name,
        output_dir=body.output_dir,
        files=tuple(files),
        instance_id=body.instance_id,
        stream_id=body.stream_id,
        closed=body.end,
        resume=body.resume,
    )


async def _files(service: Service, body: StartAnalysis) -> list[FileGiven]:
    if body.type == "videostream":
        return []
    if body.files is not None:
        return await given(service, body.files, body.output_dir)
    if not body.end:
        return []
    look = service.media.file if body.type == "file" else service.media.folder
    return await _look(service, body.path, look, body.path, body.output_dir)


async def given(service: Service, files: list[GivenFile], output_dir: str) -> list[FileGiven]:
    """Files that a client names: they may lie where only the app sees them, so they need not be here."""

    def checked() -> list[FileGiven]:
        for file in files:
            if not is_video(file.file_path):
                raise NotTaken(422, f"files: {wire_states.shown(file.file_path)} is no video")
            service.media.check(file.file_path)
        return named(files, output_dir)

    return await _look(service, files[0].file_path if files else "", checked)


def named(files: list[GivenFile], output_dir: str) -> list[FileGiven]:
    said = [FileGiven(file.file_id, file.file_path, file.file_name, file.output_path) for file in files]
    return apart(said, output_dir)


async def _look(service: Service, path: str, look: Callable[..., Found], *arguments: object) -> Found:
    """Raises HTTPException for what is not taken, and where the disk does not answer."""
    try:
        return await service.media_looks.at(look, *arguments)
    except NotTaken as error:
        raise HTTPException(error.refused.status, error.refused.reason) from None
    except TimeoutError:
        raise HTTPException(503, f"{wire_states.shown(path)} could not be looked at in time") from None


@router.post(
    "/{instance_id}/interrupt",
    response_model=Interrupted,
    responses=refusals(_404="No such instance, stream or camera", _409=USED, _422=INVALID, _503=ENDING),
)
async def interrupt(
    request: Request,
    instance_id: str,
    stream_id: Stream,
    camera_id: Camera,
    reason: Annotated[str, Query(max_length=1024)] = "",
    repeatable: Repeatable = None,
) -> Json:
    """End what a camera does in a slot; the app goes on with what waits."""
    return await ask(
        request, events.Interrupt(made_up(repeatable), instance_id, stream_id, camera_id, reason)
    )


@router.get("/status", response_model=dict[str, InstanceStreams], responses=refusals(_422=INVALID))
async def status(request: Request, stream_id: Stream | None = None, camera_id: Camera | None = None) -> Json:
    """The slots of all instances, with what runs and waits in each."""
    return Json(
        {
            app.instance_id: {
                "streams": [
                    _stream(app, slot, camera_id)
                    for slot in app.slots
                    if stream_id is None or slot.stream_id == stream_id
                ]
            }
            for app in service_of(request).control.apps()
        }
    )


@router.get(
    "/status/{instance_id}",
    response_model=InstanceStatus,
    responses=refusals(_404=NO_INSTANCE, _422=INVALID),
)
async def status_of(
    request: Request,
    instance_id: str,
    stream_id: Stream | None = None,
    camera_id: Camera | None = None,
) -> Json:
    """All slots of an instance, one, or one camera of one."""
    app = app_of(request, instance_id)
    body: dict[str, Any] = {"instance_id": instance_id, "timestamp": wire_states.iso(time.time())}
    if stream_id is None:
        return Json({**body, "streams": [_stream(app, slot, camera_id) for slot in app.slots]})
    if stream_id >= len(app.slots):
        raise HTTPException(404, f"{instance_id} has no stream {stream_id}")
    found = _stream(app, app.slots[stream_id], camera_id)
    if camera_id is None:
        return Json({**body, "stream": found})
    if not found["cameras"]:
        raise HTTPException(404, f"stream {stream_id} has no camera {camera_id}")
    return Json({**body, "stream_id": stream_id, "camera": found["cameras"][0]})


def _stream(app: App, slot: Slot, camera_id: int | None) -> dict[str, Any]:
    found = wire_states.stream(app, slot)
    if camera_id is not None:
        found["cameras"] = [camera for camera in found["cameras"] if camera["camera_id"] == camera_id]
    return found
