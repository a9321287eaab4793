"""Requests (extension): what waits, runs and has ended, in order; moved, cancelled, given more files."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request

from siwatsystem.deepstream import events, wire_states
from siwatsystem.deepstream.events import FileGiven
from siwatsystem.deepstream.openapi import INVALID
from siwatsystem.deepstream.requests import Request as Asked
from siwatsystem.deepstream.rest_analysis import Changed, GivenFile, PushFiles, Reorder
from siwatsystem.deepstream.rest_requests import Cancel, RequestList, RequestWithFiles
from siwatsystem.deepstream.routes.analysis import given, named
from siwatsystem.deepstream.routes.replies import (
    ENDING,
    USED,
    Json,
    ask,
    made_up,
    refusals,
    service_of,
)
from siwatsystem.deepstream.service import Service
from siwatsystem.deepstream.states import RequestState

router = APIRouter(prefix="/deepstream/requests", tags=["requests"])

NO_REQUEST = "No such request"


@router.get("", response_model=RequestList, responses=refusals(_422=INVALID))
async def requests(
    request: Request,
    state: RequestState | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Json:
    """The newest first; those that ended long ago are forgotten."""
    service = service_of(request)
    found = [each for each in service.control.requests() if state is None or each.state is state]
    found.sort(key=lambda each: each.created_at, reverse=True)
    page = [_with_position(service, each) for each in found[offset : offset + limit]]
    return Json({"total_count": len(found), "requests": page})


@router.get(
    "/{request_id}", response_model=RequestWithFiles, responses=refusals(_404=NO_REQUEST, _422=INVALID)
)
async def one(
    request: Request,
    request_id: str,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Json:
    """A request with its files and the state of each."""
    service = service_of(request)
    found = service.control.request(request_id)
    if found is None:
        raise HTTPException(404, f"no request {request_id}")
    files = list(found.files.values())[offset : offset + limit]
    body = _with_position(service, found)
    return Json({**body, "file_list": [wire_states.file(found, file) for file in files]})


def _with_position(service: Service, found: Asked) -> dict[str, Any]:
    return {**wire_states.request(found), "position": service.control.position(found)}


CHANGES = refusals(_404=NO_REQUEST, _409=USED, _422=INVALID, _503=ENDING)


@router.post("/{request_id}/push", response_model=Changed, responses=CHANGES)
async def push(request: Request, request_id: str, body: PushFiles) -> Json:
    """More files for a request that was started with `end: false`; `end: true` with the last ones."""
    service, command = service_of(request), made_up(body.request_id)
    target = service.control.request(request_id)
    find = _known if service.control.knows(command) else given
    files = await find(service, body.files, "" if target is None else target.output_dir)
    return await ask(request, events.Push(command, request_id, tuple(files), body.end))


async def _known(_: Service, files: list[GivenFile], output_dir: str) -> list[FileGiven]:
    """Of a command that is sent again: whether they are still taken does not matter."""
    return named(files, output_dir)


@router.post("/{request_id}/reorder", response_model=Changed, responses=CHANGES)
async def reorder(request: Request, request_id: str, body: Reorder) -> Json:
    """Move a request that waits to another place in its slot's line."""
    return await ask(request, events.Reorder(made_up(body.request_id), request_id, body.position))


@router.post("/{request_id}/cancel", response_model=Changed, responses=CHANGES)
async def cancel(request: Request, request_id: str, body: Cancel | None = None) -> Json:
    """End a request, wherever it is; its files that are not done are cancelled."""
    body = body or Cancel()
    return await ask(request, events.Cancel(made_up(body.request_id), request_id, body.reason))
