"""The worker's ASGI application: `uvicorn app:app`, `fastapi run`, or `python app.py`."""

import sys

from siwatsystem.app import create_app
from siwatsystem.errors import InvalidSetting

try:
    app = create_app()
except InvalidSetting as error:
    print(f"siwat: {error.message}", file=sys.stderr)  # noqa: T201
    raise SystemExit(2) from None

if __name__ == "__main__":
    from siwatsystem.commands.serve import serve

    serve(app)
