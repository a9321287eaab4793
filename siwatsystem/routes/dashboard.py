"""`GET /`: a page that shows the cameras, and `GET /api/cameras`, what it reads."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from siwatsystem.routes.access import worker_of

router = APIRouter(tags=["dashboard"])

PAGE = Path(__file__).parent.parent / "dashboard" / "index.html"


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
    return FileResponse(PAGE, media_type="text/html", headers={"Cache-Control": "no-cache"})


@router.get("/api/cameras")
async def cameras(request: Request) -> Cameras:
    """Every subscription and how it is."""
    worker = worker_of(request)
    usage = worker.usage
    return Cameras(
        cameras=[Camera(**worker.describe(subscription)) for subscription in worker.subscriptions.all()],
        cpu=usage.cpu,
        memory=usage.memory,
        gpu=usage.gpu,
        waiting=worker.engine.status()["depth"],
    )
