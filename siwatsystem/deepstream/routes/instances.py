"""Instances: the apps as the server sees them."""

from fastapi import APIRouter, Request

from siwatsystem.deepstream import events, wire_states
from siwatsystem.deepstream.openapi import INVALID
from siwatsystem.deepstream.rest import Done, Instance
from siwatsystem.deepstream.routes.replies import (
    ENDING,
    NO_INSTANCE,
    USED,
    Json,
    Repeatable,
    app_of,
    ask,
    made_up,
    refusals,
    service_of,
)

router = APIRouter(prefix="/deepstream", tags=["instances"])


@router.get("/instances", response_model=list[Instance], responses=refusals())
async def instances(request: Request) -> Json:
    """Every app that was launched or registered."""
    return Json([wire_states.instance(app) for app in service_of(request).control.apps()])


@router.get("/instances/{instance_id}", response_model=Instance, responses=refusals(_404=NO_INSTANCE))
async def instance(request: Request, instance_id: str) -> Json:
    return Json(wire_states.instance(app_of(request, instance_id)))


@router.post(
    "/instances/{instance_id}/terminate",
    response_model=Done,
    responses=refusals(_404=NO_INSTANCE, _409=USED, _422=INVALID, _503=ENDING),
)
async def terminate(request: Request, instance_id: str, repeatable: Repeatable = None) -> Json:
    """Ask the app to end; after a while SIGTERM goes to its process group, then SIGKILL."""
    return await ask(request, events.Terminate(made_up(repeatable), instance_id))
