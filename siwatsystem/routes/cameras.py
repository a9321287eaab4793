"""`GET /api/cameras`: every subscription and how it is, for programs."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from siwatsystem.overview.cameras import camera_state
from siwatsystem.routes.access import worker_of
from siwatsystem.subscriptions import Subscription
from siwatsystem.web.refusals import GUARDED
from siwatsystem.worker import Worker

router = APIRouter(tags=["dashboard"], responses=GUARDED)


class Camera(BaseModel):
    """One subscription and how it is."""

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
    """A subscription and how it is."""
    state, loop = camera_state(worker, subscription, None), worker.loop_of(subscription.identifier)
    member = None if loop is None else loop.members.get(subscription.identifier)
    return Camera(
        identifier=state.id,
        model_name=state.model,
        model_id=state.model_id,
        online=state.online,
        session_id=state.session,
        frame_age_sec=state.age,
        analysed=state.analysed,
        dropped=state.dropped,
        last=list(member.last) if member else [],
        problem=state.trouble.message if state.trouble else None,
    )
