"""`siwat serve`: the worker."""

import sys
from typing import NoReturn

from fastapi import FastAPI

from siwatsystem.config import Settings
from siwatsystem.errors import InvalidSetting


def serve(app: FastAPI | None = None) -> NoReturn:
    """Run the worker until SIGTERM or SIGINT. Exits with status 0, or 2 for a bad setting."""
    from siwatsystem import server
    from siwatsystem.app import create_app

    try:
        served = app or create_app()
        settings: Settings = served.state.settings
        server.run(served, settings)
    except InvalidSetting as error:
        print(f"siwat: {error.message}", file=sys.stderr)
        server.leave(2)
    server.leave(0)
