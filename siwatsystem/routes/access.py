"""How routes reach what they serve."""

from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

if TYPE_CHECKING:
    from siwatsystem.overview.board import Board
    from siwatsystem.overview.trial import Trials
    from siwatsystem.worker import Worker


def worker_of(connection: HTTPConnection) -> "Worker":
    """The worker that serves this request."""
    worker: Worker = connection.app.state.worker
    return worker


def board_of(connection: HTTPConnection) -> "Board":
    """What the dashboard is told."""
    board: Board = connection.app.state.board
    return board


def trials_of(connection: HTTPConnection) -> "Trials":
    """The pictures that are being tried."""
    trials: Trials = connection.app.state.trials
    return trials
