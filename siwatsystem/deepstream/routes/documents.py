"""The apps' WebSocket as a machine reads it, generated from the message models."""

from typing import Any

from fastapi import APIRouter

from siwatsystem import __version__
from siwatsystem.deepstream.asyncapi import document
from siwatsystem.deepstream.routes.replies import GUARDED, Json

router = APIRouter(tags=["documents"], responses=GUARDED)


@router.get("/asyncapi.json", response_model=dict[str, Any])
@router.get("/deepstream/asyncapi.json", response_model=dict[str, Any])
async def asyncapi() -> Json:
    """AsyncAPI 3 description of `WS /deepstream/ws`."""
    return Json(document(__version__))
