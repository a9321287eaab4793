"""What the dashboard reads, and how it ends a test that its page has left: `/dashboard/…`. Its form follows
the page and may change with it; programs read `/health`, `/metrics` and `/api/cameras`."""

import struct
import time
from typing import Annotated

import orjson
from fastapi import APIRouter, HTTPException, Path, Query, Request, Response

from siwatsystem.overview.cameras import TEST_DISPLAY
from siwatsystem.overview.stills import WIDTHS
from siwatsystem.routes.access import board_of, worker_of
from siwatsystem.web.access import COOKIE, logins_of, role_of
from siwatsystem.web.refusals import GUARDED, refusal

router = APIRouter(prefix="/dashboard", tags=["dashboard"], responses=GUARDED)

JSON, PICTURE = "application/json", "application/octet-stream"
UNKNOWN = refusal("No such subscription")
# Identifiers may hold slashes, so the shorter paths come last.
CameraId = Annotated[str, Path(description="The subscription identifier, `display;camera`")]


@router.get("/state", response_class=Response, responses={200: {"content": {JSON: {}}}})
async def state(request: Request) -> Response:
    """How the worker and every camera are. `X-Role` says what the caller may: `view` or `control`;
    `X-Login`: whether its cookie is a login."""
    login = logins_of(request).role(request.cookies.get(COOKIE), time.monotonic())
    headers = {"X-Role": role_of(request), "X-Login": "no" if login is None else "yes"}
    return Response(board_of(request).state(), media_type=JSON, headers=headers)


@router.get("/history", response_class=Response, responses={200: {"content": {JSON: {}}}})
async def history(request: Request) -> Response:
    """The last minutes of the machine."""
    return Response(orjson.dumps(board_of(request).machine_history()), media_type=JSON)


@router.get(
    "/camera/{camera_id:path}/still",
    response_class=Response,
    responses={
        200: {"content": {PICTURE: {}}, "description": "The newest frame that was analysed"},
        204: {"description": "There is none (any more), or the caller has it"},
        500: refusal("The picture could not be encoded"),
    },
)
async def still(
    request: Request,
    camera_id: CameraId,
    width: Annotated[int, Query(ge=1, le=WIDTHS[-1], description="Pixels across; few sizes are made")] = 640,
    known: Annotated[
        str | None, Query(max_length=80, description="`X-Picture` of what is there already")
    ] = None,
) -> Response:
    """A small picture and what was seen on it: the length of the JSON (4 bytes), the JSON, the JPEG."""
    try:
        found = await board_of(request).still(camera_id, width, known)
    except ValueError as error:
        raise HTTPException(500, str(error)) from None
    if found is None:
        return Response(status_code=204)
    # Not in a header: with a hundred boxes it would be larger than what proxies take.
    seen = orjson.dumps(found.seen)
    body = struct.pack(">I", len(seen)) + seen + found.data
    return Response(body, media_type=PICTURE, headers={"X-Picture": found.name})


@router.get(
    "/camera/{camera_id:path}",
    response_class=Response,
    responses={200: {"content": {JSON: {}}}, 404: UNKNOWN},
)
async def camera(request: Request, camera_id: CameraId) -> Response:
    """A camera's last minutes, and its pipeline as a tree with times."""
    found = board_of(request).camera(camera_id)
    if found is None:
        raise HTTPException(404, f"no subscription {camera_id}")
    return Response(orjson.dumps(found), media_type=JSON)


@router.delete(
    "/camera/{camera_id:path}",
    status_code=204,
    responses={404: UNKNOWN, 409: refusal("It is no test, or its page is still open")},
)
async def end(request: Request, camera_id: CameraId) -> None:
    """End a test that its page has left (was closed, or loaded anew) before `disconnect_grace_sec` does."""
    worker = worker_of(request)
    subscription = worker.subscriptions.get(camera_id)
    if subscription is None:
        raise HTTPException(404, f"no subscription {camera_id}")
    if subscription.display_id != TEST_DISPLAY or not worker.end_warm(camera_id):
        raise HTTPException(409, f"{camera_id} is no test that its page has left")


@router.get(
    "/seen/{number}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 404: refusal("No longer there")},
)
async def seen(request: Request, number: int) -> Response:
    """The picture of something that was seen."""
    found = board_of(request).thumb(number)
    if found is None:
        raise HTTPException(404, "no such picture")
    return Response(found, media_type="image/jpeg")
