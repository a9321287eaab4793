"""`GET /`: a page that shows the cameras, and `GET /api/cameras`, what it reads."""

import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from siwatsystem.routes.access import worker_of
from siwatsystem.subscriptions import Subscription
from siwatsystem.web.browsers import policy_of
from siwatsystem.web.refusals import GUARDED
from siwatsystem.worker import Worker

router = APIRouter(tags=["dashboard"], responses=GUARDED)

PAGE = Path(__file__).parent.parent / "dashboard" / "index.html"
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": policy_of(PAGE.read_text(encoding="utf-8")),
}


class Camera(BaseModel):
    """One subscription as the page shows it."""

    identifier: str
    model_name: str
    model_id: int | str
    online: bool
    session_id: int | str | None
    frame_age_sec: float | None = Field(description="Age of the newest frame; null before the first")
    analysed: int
    dropped: int
    last: list[dict[str, Any]] = Field(description="The newest events' `detection` objects")
    problem: str | None


class Cameras(BaseModel):
    cameras: list[Camera]
    cpu: float
    memory: float
    gpu: float | None
    waiting: int = Field(description="Actions in the outbox")


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(PAGE, media_type="text/html", headers=HEADERS)


@router.get("/api/cameras")
async def cameras(request: Request) -> Cameras:
    """Every subscription and how it is."""
    worker = worker_of(request)
    usage = worker.usage
    return Cameras(
        cameras=[camera_of(worker, subscription) for subscription in worker.subscriptions.all()],
        cpu=usage.cpu,
        memory=usage.memory,
        gpu=usage.gpu,
        waiting=worker.engine.status()["depth"],
    )


def camera_of(worker: Worker, subscription: Subscription) -> Camera:
    """A subscription as the page shows it."""
    loop = worker.loop_of(subscription.identifier)
    member = None if loop is None else loop.members.get(subscription.identifier)
    frame = None if loop is None else loop.source.latest
    error = None if loop is None else loop.source.error or loop.loaded.error or loop.failing
    return Camera(
        identifier=subscription.identifier,
        model_name=subscription.model_name,
        model_id=subscription.model_id,
        online=worker.online(subscription.identifier),
        session_id=worker.displays.session_of(subscription.display_id),
        frame_age_sec=None if frame is None else round(time.monotonic() - frame.monotonic, 2),
        analysed=member.analysed if member else 0,
        dropped=member.dropped if member else 0,
        last=list(member.last) if member else [],
        problem=error.message if error else None,
    )
