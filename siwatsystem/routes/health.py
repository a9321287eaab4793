"""`GET /health`: whether the worker lives, is ready, and what is wrong."""

import time
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from siwatsystem.build_info import build_info
from siwatsystem.routes.access import worker_of
from siwatsystem.worker import Worker

router = APIRouter(tags=["operation"])


class Build(BaseModel):
    """Where the running code came from."""

    revision: str | None = Field(description="The commit that the image was built of; null outside of images")
    built_at: str | None = Field(description="When the image was built; null outside of images")
    python: str


class Health(BaseModel):
    """The worker's state in one object."""

    status: Literal["ok", "degraded"] = Field(description="`degraded` while something is wrong")
    version: str
    build: Build
    uptime_sec: float
    open: bool = Field(description="No token is needed to command this worker")
    subscriptions: int
    online: int = Field(description="Subscriptions whose camera delivers and whose pipeline is loaded")
    preparing: list[str] = Field(
        description="Ids of models that are being fetched and loaded, which takes minutes the first time"
    )
    precision: dict[str, str] = Field(description="By model id: `exact` or `fast`, and why")
    decoding: dict[str, Any] = Field(
        description="By source: whether `all` frames or `keyframes` alone are decoded, the seconds between "
        "two keyframes (null before there were two), and on which device"
    )
    outbox: dict[str, Any] = Field(
        description="Actions that wait on disk, what was dropped, and servers that are away"
    )
    restarts: list[dict[str, Any]] = Field(
        description="Parts that were restarted or have failed: `kind`, `name`, `state` (`running` or "
        "`failed`), `restarts`, `reason`"
    )
    problems: list[str] = Field(description="What is wrong, for people")


@router.get("/health")
async def health(request: Request) -> Health:
    """Always 200 while the worker lives; `status` and `problems` tell the rest."""
    worker = worker_of(request)
    subscriptions = worker.subscriptions.all()
    outbox = worker.engine.status()
    build = build_info()
    failed = [str(failure) for failure in worker.supervisor.failures()]
    problems = list(dict.fromkeys([*_problems(worker), *outbox["degraded"], *failed]))
    return Health(
        status="degraded" if problems else "ok",
        version=build.version,
        build=Build(revision=build.revision, built_at=build.built_at, python=build.python),
        uptime_sec=round(time.time() - worker.started_at, 1),
        open=worker.settings.control_token is None,
        subscriptions=len(subscriptions),
        online=sum(worker.online(subscription.identifier) for subscription in subscriptions),
        preparing=preparing(worker),
        precision=precisions_of(worker),
        decoding=decodings_of(worker),
        outbox=outbox,
        restarts=worker.supervisor.status(),
        problems=problems,
    )


def preparing(worker: Worker) -> list[str]:
    """Ids of the models that are on their way; one that failed is told among the problems instead."""
    waiting = (one for one in worker.loader.all() if one.pipeline is None and one.error is None)
    return sorted({str(loaded.key.model_id) for loaded in waiting})


def precisions_of(worker: Worker) -> dict[str, str]:
    """How each loaded pipeline runs, and why, by model id."""
    return {
        str(loaded.key.model_id): f"{loaded.pipeline.precision}: {loaded.pipeline.precision_reason}"
        for loaded in worker.loader.all()
        if loaded.pipeline is not None
    }


def decodings_of(worker: Worker) -> dict[str, Any]:
    """How each open source is decoded, by its name in logs and metrics."""
    names = ("decode", "keyframeSec", "device")
    return {one["source"]: {name: one[name] for name in names} for one in worker.pool.status()}


def _problems(worker: Worker) -> list[str]:
    return [
        f"{', '.join(loop.members)}: {error.message}"
        for loop in worker.loops()
        for error in (loop.source.error, loop.loaded.error, loop.failing)
        if error is not None
    ]
