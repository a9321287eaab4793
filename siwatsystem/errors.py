"""One family of errors: each has the wire's `code`, and its docstring is its default message."""

from typing import ClassVar, Literal, get_args

ErrorCode = Literal[
    "invalid_json",
    "invalid_message",
    "unknown_type",
    "unknown_subscription",
    "max_streams_reached",
    "stream_unreachable",
    "stream_unauthorized",
    "stream_refused",
    "stream_lost",
    "model_download_failed",
    "model_invalid",
    "model_refused",
    "pipeline_failed",
    "action_failed",
    "outbox_full",
    "overloaded",
    "invalid_setting",
    "internal_error",
]
"""The closed list of codes that an `error` message may carry."""

ERROR_CODES: tuple[ErrorCode, ...] = get_args(ErrorCode)


MOST_TEXT = 4000
"""Characters of an error: names that an archive holds may be long, and many."""


def sendable(text: str) -> str:
    """`text` cut to what a client takes, with half characters escaped, which JSON and file names may hold and
    nothing can send."""
    whole = text.encode("utf-8", "backslashreplace").decode()
    return whole if len(whole) <= MOST_TEXT else f"{whole[:MOST_TEXT]}…"


class SiwatError(Exception):
    """Something inside the worker went wrong."""

    code: ClassVar[ErrorCode] = "internal_error"
    permanent: ClassVar[bool] = False
    """Whether trying again without a change is pointless (a 401, a refused archive)."""

    def __init__(self, message: str | None = None) -> None:
        self.message = sendable(message or self.default_message())
        super().__init__(self.message)

    @classmethod
    def default_message(cls) -> str:
        """The first line of the class's docstring, without its full stop."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")


class InvalidJson(SiwatError):
    """The message is not JSON."""

    code = "invalid_json"


class TooDeep(InvalidJson):
    """The message is nested deeper than `max_depth` allows; a limit, so the connection ends."""


class InvalidMessage(SiwatError):
    """The message lacks a field or has one of the wrong kind."""

    code = "invalid_message"


class UnknownType(SiwatError):
    """The message's type is not one that this worker knows."""

    code = "unknown_type"


class UnknownSubscription(SiwatError):
    """No subscription of this connection has that identifier."""

    code = "unknown_subscription"


class MaxStreamsReached(SiwatError):
    """As many sources are open as `max_streams` allows."""

    code = "max_streams_reached"


class StreamError(SiwatError):
    """A camera could not be read."""

    code = "stream_unreachable"


class StreamUnreachable(StreamError):
    """The camera does not answer."""


class StreamNotFound(StreamError):
    """The camera's server knows no such stream."""

    permanent = True


class StreamUnauthorized(StreamError):
    """The camera refuses the user name and password."""

    code = "stream_unauthorized"
    permanent = True


class StreamRefused(StreamError):
    """The address is not one that this worker may open."""

    code = "stream_refused"
    permanent = True


class StreamLost(StreamError):
    """The camera delivered frames and stopped."""

    code = "stream_lost"


class ModelError(SiwatError):
    """An archive or model cannot be used."""

    code = "model_invalid"
    permanent = True


class ModelDownloadFailed(ModelError):
    """The archive could not be fetched."""

    code = "model_download_failed"
    permanent = False


class ModelNotFound(ModelError):
    """The archive's address answers that there is none, or that it may not be fetched."""

    code = "model_download_failed"


class ModelInvalid(ModelError):
    """The archive's pipeline.json or one of its models is wrong."""


class ModelRefused(ModelError):
    """The archive or a model in it could do harm and was not opened."""

    code = "model_refused"


class PipelineFailed(SiwatError):
    """A frame's way through the pipeline failed."""

    code = "pipeline_failed"


class ActionFailed(SiwatError):
    """An action can never be carried out as it stands."""

    code = "action_failed"


class ActionRefused(ActionFailed):
    """An action was refused, and would be again."""

    def __init__(self, message: str | None = None, reason: str | None = None) -> None:
        """`reason` is the same for all actions that are refused for it: it quotes nothing of them."""
        super().__init__(message)
        self.reason = reason


class TargetUnavailable(SiwatError):
    """A server that actions go to is away."""

    code = "action_failed"


class TargetContended(TargetUnavailable):
    """The server is there, but something else holds what the action needs."""


class OutboxFull(SiwatError):
    """The outbox has reached its size and dropped what was oldest."""

    code = "outbox_full"


class Overloaded(SiwatError):
    """More is asked than this machine can do."""

    code = "overloaded"


class InvalidSetting(SiwatError):
    """A setting has a value that is not allowed."""

    code = "invalid_setting"
    permanent = True
