"""The worker's ASGI application: `uvicorn app:app`, `fastapi run`, or `python app.py`."""

from siwatsystem.app import create_app

app = create_app()

if __name__ == "__main__":
    from siwatsystem.commands.serve import serve

    raise SystemExit(serve(app))
