"""Analyses: start, interrupt, and what the slots do."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request

from siwatsystem.deepstream import events, wire_states
from siwatsystem.deepstream.apps import App, Slot
from siwatsystem.deepstream.events import FileGiven
from siwatsystem.deepstream.fields import MAX_STREAMS
from siwatsystem.deepstream.media import NotTaken, is_video
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
    INVALID,
    NO_INSTANCE,
    USED,
    Json,
    app_of,
    ask,
    made_up,
    refusals,
    service_of,
)
from siwatsystem.deepstream.service import Service

router = APIRouter(prefix="/deepstream/analysis", tags=["analysis"])

Stream = Annotated[int, Query(ge=0, lt=MAX_STREAMS, description="A slot of the app, from 0")]
Camera = Annotated[int, Query(ge=-(2**63), lt=2**63, description="The caller's own number")]
"""As they stand in an address: text, unlike in a body."""
LISTING_SEC = 20.0
"""For looking at a folder; a network drive that is away would take for ever."""


@router.post(
    "/start",
    response_model=AnalysisRequested,
    responses=refusals(
        _403="The folder is none that the settings allow",
        _404="No such instance, folder or file",
        _409=USED,
        _422="Something in it is not as it must be; a folder without videos, a file that is none",
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
    if known is not None and body.files is None and body.type != "videostream":
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
        return await given(service, body.files)
    if not body.end:
        return []
    look = service.media.file if body.type == "file" else service.media.folder
    try:
        async with asyncio.timeout(LISTING_SEC):
            return await asyncio.to_thread(look, body.path, body.output_dir)
    except NotTaken as error:
        raise HTTPException(error.refused.status, error.refused.reason) from None
    except TimeoutError:
        raise HTTPException(503, f"{body.path} could not be looked at in time") from None


async def given(service: Service, files: list[GivenFile]) -> list[FileGiven]:
    """Files that a client names: they may lie where only the app sees them, so they need not be here."""

    def check() -> None:
        for file in files:
            if not is_video(file.file_path):
                raise NotTaken(422, f"files: {file.file_path} is no video")
            service.media.check(file.file_path)

    try:
        await asyncio.to_thread(check)
    except NotTaken as error:
        raise HTTPException(error.refused.status, error.refused.reason) from None
    return [FileGiven(file.file_id, file.file_path, file.file_name, file.output_path) for file in files]


@router.post(
    "/{instance_id}/interrupt",
    response_model=Interrupted,
    responses=refusals(_404="No such instance, stream or camera", _422=INVALID, _503=ENDING),
)
async def interrupt(
    request: Request,
    instance_id: str,
    stream_id: Stream,
    camera_id: Camera,
    reason: Annotated[str, Query(max_length=1024)] = "",
) -> Json:
    """End what a camera does in a slot; the app goes on with what waits."""
    return await ask(request, events.Interrupt(made_up(None), instance_id, stream_id, camera_id, reason))


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
