"""`GET /deepstream/events`: a snapshot, then numbered changes, as server-sent events.

Nothing is queued for a client: each takes what is new since its last, from the changes that the state core
keeps for all. One that falls behind those gets a new snapshot.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, HTTPException, Request
from fastapi.responses import StreamingResponse

from siwatsystem.deepstream.changes import Change
from siwatsystem.deepstream.routes.replies import refusals, service_of
from siwatsystem.deepstream.service import Service

router = APIRouter(prefix="/deepstream", tags=["events"])

HEARTBEAT_SEC = 15.0
GATHER_SEC = 0.05
"""Changes of a burst are sent together."""
AT_ONCE = 500
"""Changes that are put into words before others get their turn."""
MAX_CLIENTS = 64


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={
        **refusals(_503="The server is ending, or too many follow"),
        200: {
            "description": "`snapshot` first, then a `change` for each app, slot, request and file that "
            "changed; `id` is what `Last-Event-ID` takes to go on from",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
    },
)
async def events(
    request: Request, last_event_id: Annotated[str | None, Header(max_length=64)] = None
) -> StreamingResponse:
    """Follow what happens; resumable."""
    service = service_of(request)
    if service.closing:
        raise HTTPException(503, "the server is ending")
    if service.followers >= MAX_CLIENTS:
        raise HTTPException(503, f"{MAX_CLIENTS} clients follow already")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(follow(service, last_event_id), media_type="text/event-stream", headers=headers)


async def follow(service: Service, last_id: str | None) -> AsyncIterator[bytes]:
    """The stream's text, for as long as the server lives."""
    service.followers += 1
    try:
        yield b"retry: 2000\n\n"
        while not service.closing:
            changes = None if last_id is None else service.control.changes.since(last_id)
            if changes is None:
                snapshot = service.control.snapshot()
                last_id = str(snapshot["id"])
                yield _event("snapshot", last_id, snapshot)
                continue
            if changes:
                part = changes[:AT_ONCE]
                last_id = service.control.changes.id(part[-1].number)
                yield b"".join(_change(service, change) for change in part)
                await asyncio.sleep(GATHER_SEC if len(part) == len(changes) else 0)
            elif not await service.driver.changed(HEARTBEAT_SEC):
                yield b": still here\n\n"
    finally:
        service.followers -= 1


def _change(service: Service, change: Change) -> bytes:
    body = {"kind": change.kind, "key": change.key, "value": change.value}
    return _event("change", service.control.changes.id(change.number), body)


def _event(kind: str, number: str, body: object) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (kind.encode(), number.encode(), orjson.dumps(body))
