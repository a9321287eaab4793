"""`GET /deepstream/events`: a snapshot, then numbered changes, as server-sent events.

Nothing is queued for a client: each takes what is new since its last, from the changes that the state core
keeps for all. One that falls behind those gets a new snapshot.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Request
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from siwatsystem.deepstream.changes import Change
from siwatsystem.deepstream.effects import refusal_body
from siwatsystem.deepstream.routes.replies import Json, refusals, service_of
from siwatsystem.deepstream.service import Service

log = logging.getLogger(__name__)

router = APIRouter(prefix="/deepstream", tags=["events"])

HEARTBEAT_SEC = 15.0
GATHER_SEC = 0.05
"""Changes of a burst are sent together."""
AT_ONCE = 500
"""Changes that are put into words before others get their turn."""
MAX_CLIENTS = 64
LONGEST_SEC = 3600.0


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
    return Following(service, last_event_id)


class _TakesNothingError(Exception):
    """No OSError, which Starlette takes for a client that has left."""


class Following(StreamingResponse):
    """Takes one of the places for as long as it is sent; 503 where there is none. Whoever does not take what
    is sent is cut."""

    def __init__(self, service: Service, last_id: str | None) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(follow(service, last_id), media_type="text/event-stream", headers=headers)
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        if service.followers >= MAX_CLIENTS:
            await Json(refusal_body(f"{MAX_CLIENTS} clients follow already"), 503)(scope, receive, send)
            return

        async def timely(message: Message) -> None:
            try:
                async with asyncio.timeout(service.settings.websocket.send_timeout_sec):
                    await send(message)
            except TimeoutError:
                raise _TakesNothingError from None

        service.followers += 1
        try:
            await super().__call__(scope, receive, timely)
        except* _TakesNothingError:
            log.warning("a follower takes nothing: cut")
        finally:
            service.followers -= 1


async def follow(service: Service, last_id: str | None) -> AsyncIterator[bytes]:
    """The stream's text. It ends with the server, and after `LONGEST_SEC`: a client comes again by itself,
    and is asked again who it is."""
    end = time.monotonic() + LONGEST_SEC
    yield b"retry: 2000\n\n"
    while not service.closing and time.monotonic() < end:
        changes = None if last_id is None else service.control.changes.since(last_id)
        if changes is None:
            last_id, text = service.snapshots.latest(service.control)
            yield _event("snapshot", last_id, text)
            continue
        if changes:
            part = changes[:AT_ONCE]
            last_id = service.control.changes.id(part[-1].number)
            yield b"".join(_change(service, change) for change in part)
            await asyncio.sleep(GATHER_SEC if len(part) == len(changes) else 0)
        elif not await service.driver.changed(HEARTBEAT_SEC):
            yield b": still here\n\n"


def _change(service: Service, change: Change) -> bytes:
    return _event("change", service.control.changes.id(change.number), change.text)


def _event(kind: str, number: str, text: bytes) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (kind.encode(), number.encode(), text)
