"""`POST /dashboard/try`: a picture through an archive's pipeline, without its actions."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

import orjson
from fastapi import APIRouter, HTTPException, Query, Request, Response

from siwatsystem.errors import SiwatError
from siwatsystem.loading import Loaded, PipelineKey
from siwatsystem.logs import redact
from siwatsystem.overview.trial import LIMIT_SEC, MOST_BYTES, Busy, NoPicture
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.routes.access import trials_of, worker_of
from siwatsystem.web.bodies import Allowance
from siwatsystem.web.refusals import GUARDED, refusal
from siwatsystem.worker import Worker

log = logging.getLogger(__name__)

router = APIRouter(prefix="/dashboard", tags=["dashboard"], responses=GUARDED)

PATH = "/dashboard/try"
ALLOWANCE = Allowance(MOST_BYTES, 60.0)
"""Of the picture: a phone's, over a slow link."""
LOAD_SEC = 180.0
"""How long an archive that is not loaded yet may take."""
LOOK_SEC = 0.1
MOST_ADDRESS = 4096
"""Characters of an archive's address."""
MODEL_ID = "dashboard-trial"
"""Of archives that are fetched to be tried."""
BODY = {"requestBody": {"required": True, "content": {"image/*": {}}}}


@router.post(
    "/try",
    response_class=Response,
    responses={
        200: {"content": {"application/json": {}}, "description": "What was seen, and what each node did"},
        404: refusal("No such subscription"),
        409: refusal("Another picture is being tried"),
        413: refusal(f"The picture has more than {MOST_BYTES} bytes"),
        422: refusal("This is no picture, or the archive cannot be used"),
        504: refusal("It took too long"),
    },
    openapi_extra=BODY,
)
async def attempt(
    request: Request,
    camera: Annotated[str | None, Query(description="Try the archive of this subscription")] = None,
    model_url: Annotated[str | None, Query(description="Or an archive's address")] = None,
) -> Response:
    """The body is the picture: JPEG, PNG, WebP or BMP. Nothing is stored or sent anywhere."""
    worker, trials = worker_of(request), trials_of(request)
    try:
        # Pictures are large: the turn comes before the body.
        with trials.turn():
            key = _key(worker, camera, model_url)
            data = await request.body()
            async with _opened(worker, key) as pipeline:
                result = await trials.run(pipeline, data, worker.engine.branches)
    except Busy:
        raise HTTPException(409, "another picture is being tried: try again in a moment") from None
    except NoPicture as error:
        raise HTTPException(422, str(error)) from None
    except TimeoutError:
        raise HTTPException(504, f"the archive took longer than {LIMIT_SEC:g} s on this picture") from None
    except SiwatError as error:
        raise HTTPException(422, redact(error.message)) from None
    except RuntimeError as error:
        log.warning("a picture that was tried: %s", error)
        raise HTTPException(422, redact(str(error))) from None
    return Response(orjson.dumps(result), media_type="application/json")


def _key(worker: Worker, camera: str | None, model_url: str | None) -> PipelineKey:
    if model_url and len(model_url) > MOST_ADDRESS:
        raise HTTPException(422, f"the archive's address has more than {MOST_ADDRESS} characters")
    if model_url:
        return PipelineKey.of(MODEL_ID, model_url)
    loop = None if camera is None else worker.loop_of(camera)
    if loop is None:
        raise HTTPException(404, "name a camera that is subscribed, or the address of an archive")
    return loop.loaded.key


@asynccontextmanager
async def _opened(worker: Worker, key: PipelineKey) -> AsyncGenerator[Pipeline]:
    """The archive's pipeline, kept open while the block runs. Raises SiwatError where it cannot be, and
    HTTPException where that is not known in time."""
    loaded = worker.loader.acquire(key)
    try:
        try:
            async with asyncio.timeout(LOAD_SEC):
                pipeline = await _loaded(loaded)
        except TimeoutError:
            raise HTTPException(504, f"the archive was not loaded within {LOAD_SEC:g} s") from None
        yield pipeline
    finally:
        worker.loader.release(loaded)


async def _loaded(loaded: Loaded) -> Pipeline:
    while loaded.pipeline is None:
        if loaded.error is not None:
            raise loaded.error
        await asyncio.sleep(LOOK_SEC)
    return loaded.pipeline
