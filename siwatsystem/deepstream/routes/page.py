"""`GET /deepstream/ui`: the page for people, and the files that it is made of."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse

from siwatsystem.web.browsers import OWN_FILES
from siwatsystem.web.static import assets_router

FOLDER = Path(__file__).parent.parent / "ui"
HEADERS = {"Cache-Control": "no-cache", "Content-Security-Policy": OWN_FILES}

router = APIRouter()
router.include_router(assets_router("/deepstream/assets", FOLDER))


@router.get("/deepstream/ui", include_in_schema=False)
async def page() -> FileResponse:
    """It shows nothing of itself: what it asks for needs its token."""
    return FileResponse(FOLDER / "index.html", media_type="text/html", headers=HEADERS)


@router.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    return RedirectResponse("deepstream/ui")
