"""The other side of `bench.images`: Starlette answering with bytes that it has, served as the worker is.

python -m bench.bare_image PORT FILE
"""

import sys
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from siwatsystem import server
from siwatsystem.config import Settings


def main(port: int, file: Path) -> None:
    """Serve the file's bytes at `/image` until told to stop."""
    data = file.read_bytes()

    async def image(request: Request) -> Response:
        return Response(data, media_type="image/jpeg")

    app: Any = Starlette(routes=[Route("/image", image)])
    server.run(app, Settings(host="127.0.0.1", port=port))
    server.leave(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
