"""How routes reach what they serve."""

from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

if TYPE_CHECKING:
    from siwatsystem.worker import Worker


def worker_of(connection: HTTPConnection) -> "Worker":
    """The worker that serves this request."""
    worker: Worker = connection.app.state.worker
    return worker
