"""Test routes: what `sample_data.json` says, and instances that are played without an app."""

from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request

from siwatsystem.deepstream.openapi import INVALID
from siwatsystem.deepstream.rest import Scenarios, Simulated, SimulateFileProcessing
from siwatsystem.deepstream.rest_analysis import AnalysisRequested
from siwatsystem.deepstream.routes.analysis import start_command
from siwatsystem.deepstream.routes.replies import (
    NO_INSTANCE,
    Json,
    ask,
    refusals,
    service_of,
)
from siwatsystem.deepstream.simulations import NotSimulated, Simulations


def _on(request: Request) -> None:
    if not request.app.state.test_routes:
        raise HTTPException(403, "test routes are off; the setting control.test_routes turns them on")


router = APIRouter(prefix="/deepstream/test", tags=["test"], dependencies=[Depends(_on)])

WRONG_STATE = "It is not in a state for that, or is a real app's"
PLAYED = refusals(_404=NO_INSTANCE, _409=WRONG_STATE, _422=INVALID)


@router.get("/sample-data", response_model=dict[str, Any], responses=refusals())
async def sample_data(request: Request) -> Json:
    """The sample data as they are."""
    return Json(service_of(request).samples.data)


@router.get("/scenarios", response_model=Scenarios, responses=refusals())
async def scenarios(request: Request) -> Json:
    data = service_of(request).samples.data
    return Json(
        {"scenarios": data.get("test_scenarios", []), "error_scenarios": data.get("error_scenarios", [])}
    )


@router.post(
    "/mock-analysis",
    response_model=AnalysisRequested,
    responses=refusals(_404="There is no sample request", _409=WRONG_STATE, _503="No instance is connected"),
)
async def mock_analysis(request: Request) -> Json:
    """Start the first sample request that names its files."""
    service = service_of(request)
    found = next((body for body in service.samples.requests if body.files), None)
    if found is None:
        raise HTTPException(404, "the sample data have no request with files")
    return await ask(request, await start_command(service, found.model_copy(update={"request_id": None})))


@router.post("/simulate-handshake/{instance_id}", response_model=Simulated, responses=PLAYED)
async def simulate_handshake(request: Request, instance_id: str) -> Json:
    """Let a registered instance connect."""
    try:
        await _simulations(request).handshake(instance_id)
    except NotSimulated as error:
        raise _refused(error) from None
    return _played(instance_id, "the app is connected")


@router.post("/simulate-metrics/{instance_id}", response_model=Simulated, responses=PLAYED)
async def simulate_metrics(request: Request, instance_id: str) -> Json:
    """Let it tell the first of the sample metrics."""
    try:
        await _simulations(request).metrics(instance_id)
    except NotSimulated as error:
        raise _refused(error) from None
    return _played(instance_id, "metrics were told")


@router.post("/simulate-file-processing/{instance_id}", response_model=Simulated, responses=PLAYED)
async def simulate_file_processing(request: Request, instance_id: str, body: SimulateFileProcessing) -> Json:
    """Let it begin, end or fail a file that was given to it."""
    try:
        await _simulations(request).file(instance_id, body.camera_id, body.file_id, body.action)
    except NotSimulated as error:
        raise _refused(error) from None
    return _played(instance_id, f"file {body.file_id}: {body.action}")


@router.post("/reset-instance/{instance_id}", response_model=Simulated, responses=PLAYED)
async def reset_instance(request: Request, instance_id: str) -> Json:
    """End all that it does, and its simulated connection."""
    try:
        await _simulations(request).reset(instance_id)
    except NotSimulated as error:
        raise _refused(error) from None
    return _played(instance_id, "it is as it was before it connected")


def _simulations(request: Request) -> Simulations:
    simulations: Simulations = request.app.state.simulations
    return simulations


def _refused(error: NotSimulated) -> HTTPException:
    return HTTPException(error.refused.status, error.refused.reason)


def _played(instance_id: str, message: str) -> Json:
    return Json({"success": True, "message": message, "instance_id": instance_id})
