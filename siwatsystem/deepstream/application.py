"""`create_app`: the control server's ASGI application."""

import ipaddress
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from siwatsystem import __version__
from siwatsystem.config import Settings, load_settings
from siwatsystem.deepstream import openapi
from siwatsystem.deepstream.app_tokens import AppTokens
from siwatsystem.deepstream.effects import refusal_body
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.routes import (
    analysis,
    documents,
    events,
    instances,
    metrics,
    page,
    processes,
    requests,
    socket,
)
from siwatsystem.deepstream.routes import testing as test_routes
from siwatsystem.deepstream.routes.replies import Json
from siwatsystem.deepstream.service import MakeLauncher, Service, check_samples, configured_launcher
from siwatsystem.deepstream.simulations import Simulations
from siwatsystem.errors import InvalidSetting
from siwatsystem.guesses import Guesses
from siwatsystem.logins import Logins
from siwatsystem.web import login
from siwatsystem.web.access import AccessMiddleware
from siwatsystem.web.bodies import BodyLimit
from siwatsystem.web.browsers import BrowserHeaders

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 8 * 1024 * 1024
"""A request with ten thousand files is this large."""
MAX_MISTAKES = 3


def create_app(
    settings: Settings | None = None, make_launcher: MakeLauncher | None = None, limits: Limits | None = None
) -> FastAPI:
    """Raises InvalidSetting for a bad setting. `make_launcher`, `limits`: others than the settings', for
    tests."""
    chosen = settings or load_settings()
    app = FastAPIOffline(
        redoc_url=None,
        title="Control server",
        version=__version__,
        description="Launches analysis apps, feeds them videos, and knows what they do.",
        lifespan=_lifespan,
    )
    app.state.settings = chosen
    app.state.configured_server = False
    tokens = app.state.app_tokens = AppTokens(chosen.data_dir / chosen.control.app_logs)
    app.state.make_launcher = make_launcher or partial(configured_launcher, tokens=tokens)
    app.state.limits = limits
    app.state.test_routes = serves_tests(chosen)
    app.state.samples = check_samples(chosen, test_routes=app.state.test_routes)
    logins = app.state.logins = Logins(chosen.login_keep_sec)
    guesses = app.state.guesses = Guesses()
    app.add_middleware(BodyLimit, most=MAX_BODY_BYTES)
    sockets = {socket.PATH: tokens.instance}
    app.add_middleware(
        AccessMiddleware,
        settings=chosen,
        logins=logins,
        guesses=guesses,
        sockets=sockets,
        body=refusal_body,
    )
    app.add_middleware(BrowserHeaders)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    for module in (processes, instances, analysis, requests, metrics, events, socket, documents, login):
        app.include_router(module.router)
    app.include_router(test_routes.router)
    openapi.describe(app)
    app.include_router(page.router)
    return app


def serves_tests(settings: Settings) -> bool:
    """On loopback without a token, else only by the setting."""
    chosen = settings.control.test_routes
    if chosen is not None:
        return chosen
    return settings.control_token is None and is_loopback(settings.control.host)


def is_loopback(host: str | None) -> bool:
    if host is None or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _refused(_: Request, error: Exception) -> Response:
    """Every refusal says the same in both spellings that clients read."""
    assert isinstance(error, HTTPException)
    answer = Json(refusal_body(error.detail), error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _invalid(request: Request, error: Exception) -> Response:
    """What is wrong and where, without what was sent."""
    assert isinstance(error, RequestValidationError)
    wrong = [_mistake(item) for item in error.errors()[:MAX_MISTAKES]]
    return await _refused(request, HTTPException(422, "; ".join(wrong)))


def _mistake(item: dict[str, Any]) -> str:
    place = item["loc"][1:]
    if item["type"] == "json_invalid":
        return f"body: it is no JSON ({item['ctx']['error']}, at character {place[0]})"
    return f"{'.'.join(str(part) for part in place) or 'body'}: {item['msg']}"


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    state = app.state
    settings: Settings = state.settings
    try:
        service = state.service = Service(
            settings, state.make_launcher, state.samples, state.app_tokens, state.limits
        )
        state.simulations = Simulations(service.driver, service.connections, state.samples)
        await service.start()
    except (InvalidSetting, OSError) as error:
        state.startup_error = getattr(error, "message", None) or f"data_dir = {settings.data_dir}: {error}"
        raise
    if settings.control_token is None:
        log.warning("no control token is set: whoever reaches this server may launch apps")
    log.info("control server %s is ready", __version__)
    try:
        yield
    finally:
        await service.stop()
        log.info("control server has ended")
