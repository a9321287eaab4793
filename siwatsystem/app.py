"""`create_app`: settings, lifespan, routers."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from siwatsystem import __version__, logs
from siwatsystem.config import Settings, load_settings
from siwatsystem.errors import InvalidSetting
from siwatsystem.logins import Logins
from siwatsystem.routes import dashboard, documents, health, image, login, metrics, websocket
from siwatsystem.routes.access import AccessMiddleware
from siwatsystem.worker import Worker

log = logging.getLogger(__name__)

SERVER_LACKS = (
    "started without `python app.py` or `serve`: message size and socket limits are the server's own, "
    "and a client that stops reading is cut late"
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The worker's ASGI application. Raises InvalidSetting for a bad setting."""
    chosen = settings or load_settings()
    # Its documentation page brings its own assets: stations have no internet.
    app = FastAPIOffline(
        redoc_url=None,
        title="Detector worker",
        version=__version__,
        description="Reads cameras, runs pipelines on them, and tells a backend what it saw.",
        lifespan=_lifespan,
    )
    app.state.settings = chosen
    app.state.configured_server = False
    logins = app.state.logins = Logins(chosen.login_keep_sec)
    app.add_middleware(image.PlainImages)
    app.add_middleware(
        AccessMiddleware, settings=chosen, logins=logins
    )  # the last one that is added is asked first
    for module in (websocket, image, health, metrics, documents, dashboard, login):
        app.include_router(module.router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    settings: Settings = app.state.settings
    try:
        logs.set_up(settings.logs, settings.data_dir)
        if not app.state.configured_server:
            log.warning(SERVER_LACKS)
        if settings.control_token is None:
            log.warning("no control token is set: whoever reaches this worker may command it")
        worker = app.state.worker = Worker(settings)
        await worker.start()
    except (InvalidSetting, OSError) as error:
        # Told in one line by whoever started the server; a traceback would hide it.
        app.state.startup_error = (
            getattr(error, "message", None) or f"data_dir = {settings.data_dir}: {error}"
        )
        raise
    log.info("worker %s is ready", __version__)
    try:
        yield
    finally:
        await worker.stop()
        log.info("worker has ended")
