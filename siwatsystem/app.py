"""`create_app`: settings, lifespan, routers."""

import logging
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline

from siwatsystem import __version__, descriptors, logs
from siwatsystem.config import Settings, load_settings
from siwatsystem.errors import InvalidSetting
from siwatsystem.guesses import Guesses
from siwatsystem.logins import Logins
from siwatsystem.overview.board import Board
from siwatsystem.overview.trial import Trials
from siwatsystem.routes import (
    cameras,
    dashboard,
    documents,
    health,
    image,
    metrics,
    overview,
    trial,
    websocket,
)
from siwatsystem.web import login
from siwatsystem.web.access import AccessMiddleware
from siwatsystem.web.bodies import BodyLimit
from siwatsystem.web.browsers import BrowserHeaders
from siwatsystem.web.static import assets_router
from siwatsystem.worker import Worker

log = logging.getLogger(__name__)

SERVER_LACKS = (
    "started without `python app.py` or `serve`: message size and socket limits are the server's own, "
    "and a client that stops reading is cut late"
)


SHORT_TOKEN = 16
"""Characters below which a token is held to be guessable, whatever the limits of `guesses`."""


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
    guesses = app.state.guesses = Guesses()
    # The last one that is added is asked first.
    app.add_middleware(BodyLimit, larger={trial.PATH: trial.ALLOWANCE})
    app.add_middleware(image.PlainImages)
    app.add_middleware(AccessMiddleware, settings=chosen, logins=logins, guesses=guesses)
    app.add_middleware(BrowserHeaders)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    for module in (websocket, image, health, metrics, documents, dashboard, cameras, overview, trial, login):
        app.include_router(module.router)
    app.include_router(assets_router("/assets", dashboard.FOLDER))
    return app


async def _invalid_request(_: Request, error: Exception) -> JSONResponse:
    """What is wrong and where, without what was sent: that may be a token, or text that is no Unicode."""
    assert isinstance(error, RequestValidationError)
    told = [{key: item[key] for key in ("type", "loc", "msg")} for item in error.errors()]
    return JSONResponse({"detail": told}, 422)


def _tell_tokens(settings: Settings) -> None:
    if settings.control_token is None:
        log.warning("no control token is set: whoever reaches this worker may command it")
    for key in ("control_token", "view_token"):
        token = getattr(settings, key)
        if token is not None and len(token.get_secret_value()) < SHORT_TOKEN:
            log.warning("%s has fewer than %d characters and can be guessed", key, SHORT_TOKEN)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    settings: Settings = app.state.settings
    try:
        logs.set_up(settings.logs, settings.data_dir)
        if not app.state.configured_server:
            log.warning(SERVER_LACKS)
        _tell_tokens(settings)
        descriptors.allow(settings)
        worker = app.state.worker = Worker(settings)
        await worker.start()
        board = app.state.board = Board(worker)
        app.state.trials = Trials()
        board.start()
    except (InvalidSetting, OSError, sqlite3.Error) as error:
        # Told in one line by whoever started the server; a traceback would hide it.
        app.state.startup_error = (
            getattr(error, "message", None) or f"data_dir = {settings.data_dir}: {error}"
        )
        raise
    log.info("worker %s is ready", __version__)
    try:
        yield
    finally:
        await board.stop()
        await worker.stop()
        log.info("worker has ended")
