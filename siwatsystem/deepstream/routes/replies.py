"""What the control server's routes have in common: how they reach the server, and how they answer."""

import secrets
from typing import Annotated, Any

import orjson
from fastapi import HTTPException, Query, Request
from fastapi.responses import Response
from starlette.requests import HTTPConnection

from siwatsystem.deepstream.apps import App
from siwatsystem.deepstream.events import Command
from siwatsystem.deepstream.rest import Refusal
from siwatsystem.deepstream.service import Service
from siwatsystem.messages import PRINTABLE


class Json(Response):
    """A body that is JSON values already: pydantic is too slow for ten thousand files."""

    media_type = "application/json"

    def __init__(self, body: object, status: int = 200) -> None:
        super().__init__(orjson.dumps(body), status)


def service_of(connection: HTTPConnection) -> Service:
    service: Service = connection.app.state.service
    return service


def app_of(request: Request, instance_id: str) -> App:
    """Raises HTTPException (404)."""
    app = service_of(request).control.app(instance_id)
    if app is None:
        raise HTTPException(404, f"no instance {instance_id}")
    return app


Repeatable = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=128,
        pattern=PRINTABLE,
        alias="request_id",
        description="Made up by the client (extension): a command that is sent again changes nothing",
    ),
]
"""Of commands without a body."""


def made_up(request_id: str | None) -> str:
    """The client's own id, or one that nobody else uses."""
    return request_id or f"req_{secrets.token_hex(12)}"


async def ask(request: Request, command: Command) -> Json:
    """Have the command carried out; its answer, whatever it is."""
    answer = await service_of(request).driver.ask(command)
    return Json(answer.body, answer.status)


GUARDED: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": reason}
    for status, reason in (
        (401, "A token is needed"),
        (403, "The token, or the page that asks, does not allow it"),
        (429, "Too many wrong tokens came from this address"),
    )
}
"""What the access rules answer, before any route that needs a token is run."""


def refusals(**reasons: str) -> dict[int | str, dict[str, Any]]:
    """Responses of the description: `_404="no such instance"`."""
    told: dict[int | str, dict[str, Any]] = {
        int(name[1:]): {"model": Refusal, "description": reason} for name, reason in reasons.items()
    }
    return {**GUARDED, **told}


NO_INSTANCE = "No such instance"
USED = "Not in this state, or the request_id was used for another command"
ENDING = "The server is ending, or did not get to it in time"
