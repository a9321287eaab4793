"""`GET /metrics`: Prometheus."""

import asyncio

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from siwatsystem.build_info import build_info
from siwatsystem.metrics import BUILD
from siwatsystem.routes.state_series import WorkerState
from siwatsystem.web.refusals import GUARDED
from siwatsystem.worker import Worker

router = APIRouter(tags=["operation"], responses=GUARDED)


@router.get("/metrics", response_class=Response, responses={200: {"content": {CONTENT_TYPE_LATEST: {}}}})
async def metrics(request: Request) -> Response:
    """All series of this process and of the worker's state in Prometheus' text format."""
    build = build_info()
    BUILD.info({"version": build.version, "revision": build.revision or "", "python": build.python})
    text = await _counted(request.app)
    worker: Worker | None = getattr(request.app.state, "worker", None)
    if worker is not None:  # It begins and ends with the server.
        state = CollectorRegistry()
        state.register(WorkerState(worker))
        text += generate_latest(state)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


async def _counted(app: FastAPI) -> bytes:
    """What was counted. Made beside the event loop, as there are series of every subscription, and once for
    all who ask meanwhile."""
    making: asyncio.Task[bytes] | None = getattr(app.state, "counted", None)
    if making is None or making.done():
        making = app.state.counted = asyncio.create_task(asyncio.to_thread(generate_latest))
    return await asyncio.shield(making)
