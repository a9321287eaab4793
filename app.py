"""The worker's ASGI application: `uvicorn app:app`, `fastapi run`, or `python app.py`."""

from siwatsystem.app import create_app
from siwatsystem.errors import InvalidSetting

try:
    app = create_app()
except InvalidSetting as error:
    raise SystemExit(f"siwat: {error.message}") from None

if __name__ == "__main__":
    from siwatsystem.commands.serve import serve

    serve(app)
