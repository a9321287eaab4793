"""`GET /`: the dashboard's page; what it reads is in `routes.overview`."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from siwatsystem.web.browsers import OWN_FILES

router = APIRouter()

FOLDER = Path(__file__).parent.parent / "dashboard"
PAGE = FOLDER / "index.html"
HEADERS = {"Cache-Control": "no-cache", "Content-Security-Policy": OWN_FILES}


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(PAGE, media_type="text/html", headers=HEADERS)
