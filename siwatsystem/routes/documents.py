"""`GET /asyncapi.json`: the WebSocket's description, generated from the message models."""

from typing import Any

from fastapi import APIRouter

from siwatsystem import __version__
from siwatsystem.asyncapi import document
from siwatsystem.web.refusals import GUARDED

router = APIRouter(tags=["documents"], responses=GUARDED)


@router.get("/asyncapi.json")
async def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3 description of `WS /`."""
    return document(__version__)
