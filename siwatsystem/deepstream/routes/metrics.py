"""What apps use, and whether the server is well."""

import time

from fastapi import APIRouter, HTTPException, Request

from siwatsystem.deepstream import events, wire_states
from siwatsystem.deepstream.rest import Health, Metrics
from siwatsystem.deepstream.routes.replies import (
    NO_INSTANCE,
    Json,
    app_of,
    made_up,
    refusals,
    service_of,
)
from siwatsystem.deepstream.states import AppState

router = APIRouter(prefix="/deepstream", tags=["metrics"])

REFRESH_SEC = 5.0


@router.get("/metrics", response_model=list[Metrics], responses=refusals())
async def metrics(request: Request) -> Json:
    """What every instance told last."""
    return Json([wire_states.metrics(app) for app in service_of(request).control.apps()])


@router.get("/metrics/{instance_id}", response_model=Metrics, responses=refusals(_404=NO_INSTANCE))
async def metrics_of(request: Request, instance_id: str) -> Json:
    return Json(wire_states.metrics(app_of(request, instance_id)))


@router.post(
    "/metrics/{instance_id}/refresh",
    response_model=Metrics,
    responses=refusals(_404=NO_INSTANCE, _503="The app is not connected, or did not answer in time"),
)
async def refresh(request: Request, instance_id: str) -> Json:
    """Ask the app for its metrics, and wait for them."""
    app = app_of(request, instance_id)
    driver = service_of(request).driver
    before = app.metrics
    answer = await driver.ask(events.AskMetrics(made_up(None), instance_id))
    if answer.status != 200:
        return Json(answer.body, answer.status)
    deadline = time.monotonic() + REFRESH_SEC
    while app.metrics is before:
        left = deadline - time.monotonic()
        if left <= 0:
            raise HTTPException(503, f"{instance_id} did not tell its metrics within {REFRESH_SEC:g} s")
        await driver.changed(left)
    return Json(wire_states.metrics(app))


@router.head("/health", include_in_schema=False)
@router.get(
    "/health",
    response_model=Health,
    responses={503: {"model": Health, "description": "The server is ending"}},
)
async def health(request: Request) -> Json:
    """Whether the server lives; 503 while it is ending."""
    service = service_of(request)
    apps = service.control.apps()
    launched = [app for app in apps if app.process is not None]
    running = (AppState.STARTING, AppState.RUNNING, AppState.STOPPING)
    status = "shutting_down" if service.closing else "degraded" if service.problems else "healthy"
    body = {
        "status": status,
        "connected_instances": sum(app.connection is not None for app in apps),
        "total_instances": len(apps),
        "total_processes": len(launched),
        "running_processes": sum(app.state in running for app in launched),
        "problems": service.problems,
    }
    return Json(body, 503 if service.closing else 200)
