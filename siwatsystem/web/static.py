"""The files that pages are made of: scripts, styles, licences. They are the same for everybody and say
nothing of what runs here, so no token is asked for."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

SHARED = Path(__file__).parent / "assets"
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""What is served; all else in the folders is for people."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, held in memory."""

    body: bytes
    packed: bytes
    media_type: str
    etag: str


def assets_of(*folders: Path) -> dict[str, Asset]:
    """By name. Raises ValueError where two folders have the same one."""
    found: dict[str, Asset] = {}
    for path in sorted(path for folder in folders for path in folder.iterdir() if path.suffix in TYPES):
        if path.name in found:
            raise ValueError(f"{path} has the name of another asset")
        body = path.read_bytes()
        # Weak: plain and packed are the same to whoever uses it.
        etag = f'W/"{hashlib.sha256(body).hexdigest()[:24]}"'
        found[path.name] = Asset(body, gzip.compress(body, mtime=0), TYPES[path.suffix], etag)
    return found


def assets_router(prefix: str, *folders: Path) -> APIRouter:
    """`GET {prefix}/{name}` for what all pages share and for what lies in `folders`."""
    assets = assets_of(SHARED, *folders)
    router = APIRouter()

    @router.api_route(f"{prefix}/{{name}}", methods=["GET", "HEAD"], include_in_schema=False)
    async def asset(request: Request, name: str) -> Response:
        found = assets.get(name)
        if found is None:
            raise HTTPException(404, "no such file")
        # Asked for again each time, as a newer release has other files under the same names.
        headers = {"ETag": found.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if found.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        body = found.body
        if _takes_gzip(request.headers.get("accept-encoding", "")):
            headers["Content-Encoding"] = "gzip"
            body = found.packed
        return Response(body, headers=headers, media_type=found.media_type)

    return router


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.lower().split(","):
        name, _, weight = each.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
