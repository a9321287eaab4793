"""`GET /camera/{camera_id}/image`: the newest frame as JPEG, encoded once however many ask."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from siwatsystem import metrics
from siwatsystem.frames import Crop, Frame, Image, encode_jpeg
from siwatsystem.loops import AnalysisLoop, Member
from siwatsystem.overlay import draw
from siwatsystem.overview.jpegs import jpeg_once
from siwatsystem.routes.access import worker_of
from siwatsystem.web.refusals import GUARDED, refusal
from siwatsystem.wire_time import wire_time
from siwatsystem.worker import Worker

router = APIRouter(tags=["images"], responses=GUARDED)

BOUNDARY = "frame"
MJPEG = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
PREFIX, SUFFIX = "/camera/", "/image"
STREAM_INTERVAL_SEC = 0.1
"""Between two frames of an MJPEG stream."""
NOT_FOUND = refusal("No such subscription, or no frame yet")
FAILED = refusal("The frame could not be encoded")


@router.get(
    "/camera/{camera_id:path}/image",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "The newest frame"},
        404: NOT_FOUND,
        500: FAILED,
    },
)
async def image(
    request: Request,
    camera_id: Annotated[str, Path(description="The subscription identifier, `display;camera`")],
    overlay: Annotated[bool, Query(description="Draw what was last detected")] = False,
    full: Annotated[bool, Query(description="The whole frame, whatever the subscription's crop")] = False,
) -> Response:
    """The newest frame of a subscription's camera, cropped as the subscription says."""
    loop = worker_of(request).loop_of(camera_id)
    if loop is None:
        raise HTTPException(404, f"no subscription {camera_id}")
    frame = loop.source.latest
    if frame is None:
        raise HTTPException(404, f"no frame of {camera_id} yet")
    try:
        data = await _picture(loop, frame, camera_id, overlay=overlay, full=full)
    except ValueError as error:
        raise HTTPException(500, str(error)) from None
    response = Response(data)
    response.raw_headers = _headers(frame, data)
    return response


class PlainImages:
    """Answers what most clients ask, `image` without options, before any router looks at it.

    The route stands behind it, describes it, and answers everything else: options, and what is wrong.
    Of a request with 200 kB of picture, finding the route and its parameters is nearly half of the work.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _plain(scope)
        if found is None:
            await self._app(scope, receive, send)
            return
        loop, frame = found
        try:
            data = await _encoded(frame, loop.crop)
        except ValueError:
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": _headers(frame, data)})
        await send({"type": "http.response.body", "body": data})


def _plain(scope: Scope) -> tuple[AnalysisLoop, Frame] | None:
    """The loop and the frame that are asked for; None where the route is to answer."""
    if scope["type"] != "http" or scope["method"] != "GET" or scope["query_string"] or scope["root_path"]:
        return None
    path: str = scope["path"]
    camera_id = path.removeprefix(PREFIX).removesuffix(SUFFIX)
    if len(path) != len(PREFIX) + len(camera_id) + len(SUFFIX):
        return None
    worker: Worker = scope["app"].state.worker
    loop = worker.loop_of(camera_id)
    frame = None if loop is None else loop.source.latest
    return None if loop is None or frame is None else (loop, frame)


def _headers(frame: Frame, data: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"cache-control", b"no-store"),
        (b"x-captured-at", wire_time(frame.captured_at).encode()),
        (b"content-length", str(len(data)).encode()),
        (b"content-type", b"image/jpeg"),
    ]


@router.get(
    "/camera/{camera_id:path}/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {MJPEG: {}}, "description": "MJPEG, newest frames only"}, 404: NOT_FOUND},
)
async def stream(
    request: Request,
    camera_id: Annotated[str, Path(description="The subscription identifier, `display;camera`")],
    overlay: Annotated[bool, Query(description="Draw what was last detected")] = False,
    full: Annotated[bool, Query(description="The whole frame, whatever the subscription's crop")] = False,
) -> StreamingResponse:
    """The newest frames of a subscription as MJPEG, for as long as the subscription lasts."""
    worker = worker_of(request)
    if worker.loop_of(camera_id) is None:
        raise HTTPException(404, f"no subscription {camera_id}")
    parts = _parts(worker, camera_id, overlay=overlay, full=full)
    return StreamingResponse(parts, media_type=MJPEG, headers={"Cache-Control": "no-store"})


async def _parts(worker: Worker, camera_id: str, *, overlay: bool, full: bool) -> AsyncGenerator[bytes]:
    """A part per new frame; a client that reads slowly is sent fewer, never older ones."""
    last = 0
    while (loop := worker.loop_of(camera_id)) is not None:
        frame = loop.source.latest
        if frame is not None and frame.sequence != last:
            last = frame.sequence
            data = await _picture(loop, frame, camera_id, overlay=overlay, full=full)
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            yield head.encode() + data + b"\r\n"
        await asyncio.sleep(STREAM_INTERVAL_SEC)


async def _picture(loop: AnalysisLoop, frame: Frame, camera_id: str, *, overlay: bool, full: bool) -> bytes:
    crop = None if full else loop.crop
    member = loop.members.get(camera_id) if overlay else None
    return await (_encoded(frame, crop) if member is None else _drawn(frame, crop, member))


async def _encoded(frame: Frame, crop: Crop | None) -> bytes:
    return await jpeg_once(frame, ("jpeg", crop), partial(_encode, frame.cropped, crop))


async def _drawn(frame: Frame, crop: Crop | None, member: Member) -> bytes:
    seen = member.seen

    def picture(crop: Crop | None) -> Image:
        return draw(frame.image, seen, crop)

    return await jpeg_once(frame, ("overlay", crop, seen), partial(_encode, picture, crop))


def _encode(picture: Callable[[Crop | None], Image], crop: Crop | None) -> bytes:
    metrics.JPEG_ENCODED.inc()
    return encode_jpeg(picture(crop))
