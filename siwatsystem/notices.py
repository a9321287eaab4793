"""What backends are told of failures: whom each concerns, once when it begins and once when it is over.

Lives on the event loop's thread.
"""

from siwatsystem.actions.base import Problem
from siwatsystem.connections import Connection, Connections, error_message
from siwatsystem.errors import SiwatError
from siwatsystem.loops import AnalysisLoop
from siwatsystem.messages import ErrorMessage
from siwatsystem.subscriptions import Subscriptions
from siwatsystem.supervision import Failure

OF_SUBSCRIPTIONS = frozenset({"reader", "pipeline"})
"""Kinds of parts whose failure those are told of whose cameras it concerns, by `of_loop`."""


class Notices:
    """Tells the open connections."""

    def __init__(self, connections: Connections, subscriptions: Subscriptions) -> None:
        self._connections = connections
        self._subscriptions = subscriptions

    def problem(self, problem: Problem) -> None:
        """An outage concerns everybody; what was refused, only whom it was made for."""
        named = None if problem.subscription is None else self._subscriptions.get(problem.subscription)
        message = error_message(
            problem.code,
            problem.message,
            identifier=problem.subscription,
            legacy=named is not None and named.legacy,
            resolved=problem.ended,
        )
        if problem.subscription is None:
            self._everybody(message)
            return
        holder = self._connections.get(self._subscriptions.holder(problem.subscription))
        if holder is not None:
            self._connections.reply(holder, message)

    def failure(self, failure: Failure) -> None:
        """A part of the worker has failed, or works again."""
        if failure.kind in OF_SUBSCRIPTIONS:
            return
        text = f"over: {failure}" if failure.ended else str(failure)
        self._everybody(error_message(SiwatError.code, text, resolved=failure.ended))

    def of_loop(self, connection: Connection, identifier: str, loop: AnalysisLoop) -> None:
        """What is wrong, or no longer wrong, with a subscription's camera, model and frames."""
        subscription = loop.members[identifier].subscription
        source, loaded, connections = loop.source, loop.loaded, self._connections
        if source.error is not None:
            connections.tell(connection, subscription, "stream", source.error)
        elif source.online:
            connections.end(connection, subscription, "stream", "the camera delivers frames")
        if loaded.error is not None:
            connections.tell(connection, subscription, "model", loaded.error)
        elif loaded.pipeline is not None:
            connections.end(connection, subscription, "model", "the model is ready")
        if loop.failing is not None:
            connections.tell(connection, subscription, "pipeline", loop.failing)
        else:
            connections.end(connection, subscription, "pipeline", "frames are analysed again")

    def _everybody(self, message: ErrorMessage) -> None:
        for connection in self._connections.all():
            self._connections.reply(connection, message)
