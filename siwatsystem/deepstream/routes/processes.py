"""Processes: launch, list, end, and their logs."""

import asyncio
import secrets
import time
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request

from siwatsystem.deepstream import events, wire_states
from siwatsystem.deepstream.apps import App, Spec
from siwatsystem.deepstream.openapi import INVALID
from siwatsystem.deepstream.rest import Done, Launch, Launched, Logs, Process, Processes
from siwatsystem.deepstream.routes.replies import (
    ENDING,
    USED,
    Json,
    Repeatable,
    ask,
    made_up,
    refusals,
    service_of,
)
from siwatsystem.deepstream.service import Service

router = APIRouter(prefix="/deepstream", tags=["processes"])

NO_PROCESS = "No such process"


@router.post(
    "/launch",
    response_model=Launched,
    responses=refusals(
        _403="A setting does not allow it, and is named",
        _404="The config is not there",
        _409="An app of this instance_id lives, or the request_id was used for another command",
        _422=INVALID,
        _503="There is no room, the app cannot be started, or the server is ending",
    ),
)
async def launch(request: Request, body: Launch) -> Json:
    """Start an app, as a local process or in a container. Answered once its process is there."""
    spec = Spec(
        body.config_path,
        body.streams_count,
        tuple(body.gpu_allocated or ()),
        body.docker_container,
        tuple(body.additional_args or ()),
    )
    service, request_id = service_of(request), made_up(body.request_id)
    if not service.control.knows(request_id):
        await _check(service, spec)
    name = f"stream_{int(time.time())}_{secrets.token_hex(4)}"
    return await ask(request, events.Launch(request_id, spec, body.instance_id, name))


async def _check(service: Service, spec: Spec) -> None:
    """Raises HTTPException for what must not be launched."""
    try:
        refused = await service.config_looks.at(service.launcher.refused, spec)
    except TimeoutError:
        raise HTTPException(503, f"{spec.config_path} could not be looked at in time") from None
    if refused is not None:
        raise HTTPException(refused.status, refused.reason)


@router.get("/processes", response_model=Processes, responses=refusals())
async def processes(request: Request) -> Json:
    """Every app that was launched."""
    return Json(wire_states.processes(service_of(request).control.apps()))


@router.get(
    "/processes/by-instance/{instance_id}", response_model=Process, responses=refusals(_404=NO_PROCESS)
)
async def process_of_instance(request: Request, instance_id: str) -> Json:
    app = service_of(request).control.app(instance_id)
    body = None if app is None else wire_states.process(app)
    if body is None:
        raise HTTPException(404, f"no process of an instance {instance_id}")
    return Json(body)


@router.get("/processes/{process_id}", response_model=Process, responses=refusals(_404=NO_PROCESS))
async def process(request: Request, process_id: str) -> Json:
    return Json(wire_states.process(_app(request, process_id)))


@router.post(
    "/processes/cleanup",
    response_model=Done,
    responses=refusals(_409=USED, _422=INVALID, _503=ENDING),
    name="clean up processes",
)
async def clean_up(request: Request, repeatable: Repeatable = None) -> Json:
    """Forget apps that have ended or were given up and that nothing waits for, and their logs."""
    return await ask(request, events.CleanUp(made_up(repeatable)))


@router.post(
    "/processes/{process_id}/terminate",
    response_model=Done,
    responses=refusals(_404=NO_PROCESS, _409=USED, _422=INVALID, _503=ENDING),
)
async def terminate(request: Request, process_id: str, repeatable: Repeatable = None) -> Json:
    """Ask the app to end; after a while SIGTERM goes to its process group, then SIGKILL."""
    app = _app(request, process_id)
    return await ask(request, events.Terminate(made_up(repeatable), app.instance_id))


@router.get(
    "/processes/{process_id}/logs",
    response_model=Logs,
    responses=refusals(_404=NO_PROCESS, _422=INVALID),
)
async def logs(
    request: Request,
    process_id: str,
    lines: Annotated[int, Query(ge=1, le=1000)] = 100,
    skip: Annotated[int, Query(ge=0, le=10_000_000, description="Newest lines to leave out")] = 0,
) -> Json:
    """The last lines that the app wrote to stdout and stderr."""
    _app(request, process_id)
    page = await asyncio.to_thread(service_of(request).launcher.logs, process_id, lines, skip)
    return Json(
        {
            "success": True,
            "message": f"{len(page.lines)} lines" + (", there are older ones" if page.more else ""),
            "log_content": "".join(f"{line}\n" for line in page.lines),
            "lines_requested": lines,
            "process_id": process_id,
        }
    )


def _app(request: Request, process_id: str) -> App:
    app = service_of(request).control.app_of_process(process_id)
    if app is None:
        raise HTTPException(404, f"no process {process_id}")
    return app
