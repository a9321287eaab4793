"""`GET /metrics`: Prometheus."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

router = APIRouter(tags=["operation"])


@router.get("/metrics", response_class=Response)
async def metrics() -> Response:
    """All series of this process in Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
