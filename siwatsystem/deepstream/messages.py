"""Messages between analysis apps and the control server: the AsyncAPI document is made of them."""

from typing import Annotated, Any, TypeVar, cast, get_args

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from siwatsystem.deepstream.fields import Said, plain
from siwatsystem.deepstream.to_app import (
    ExecuteAck,
    InterruptAnalysis,
    PushFile,
    QueryAnalysisStatus,
    QueryMetrics,
    ReconnectionAck,
    StartAnalysis,
    TerminateApp,
)
from siwatsystem.deepstream.to_server import (
    AnalysisComplete,
    AnalysisInterrupted,
    AnalysisStarted,
    AnalysisStatus,
    AppReady,
    AppTerminated,
    FileDone,
    MetricsResponse,
    ProcessingStarted,
    PushAck,
)
from siwatsystem.errors import InvalidMessage, UnknownType
from siwatsystem.json_text import loads
from siwatsystem.messages import describe, shorten

MAX_BYTES = 8 * 1024 * 1024
"""Of one message: the status of an app that was given ten thousand files is this long."""

Model = TypeVar("Model")

AppMessage = (
    AppReady
    | AnalysisStarted
    | PushAck
    | ProcessingStarted
    | FileDone
    | AnalysisComplete
    | AnalysisInterrupted
    | AppTerminated
    | MetricsResponse
    | AnalysisStatus
)
ServerMessage = (
    ExecuteAck
    | ReconnectionAck
    | StartAnalysis
    | PushFile
    | InterruptAnalysis
    | TerminateApp
    | QueryMetrics
    | QueryAnalysisStatus
)
TO_SERVER: tuple[type[Said], ...] = get_args(AppMessage)
TO_APP: tuple[type[Said], ...] = get_args(ServerMessage)

_APP: TypeAdapter[AppMessage] = TypeAdapter(Annotated[AppMessage, Field(discriminator="type")])
_SERVER: TypeAdapter[ServerMessage] = TypeAdapter(Annotated[ServerMessage, Field(discriminator="type")])


def encode(message: AppMessage | ServerMessage) -> str:
    """The message as JSON text, without the optional keys that it was not given."""
    return orjson.dumps(plain(message)).decode()


def app_message(text: str, max_depth: int = 32) -> AppMessage:
    """What an app said.

    Raises InvalidJson, TooDeep, UnknownType or InvalidMessage: what is wrong, and where.
    """
    return _decode(text, max_depth, _APP, TO_SERVER)


def server_message(text: str, max_depth: int = 32) -> ServerMessage:
    """What the server said to an app; raises as `app_message` does."""
    return _decode(text, max_depth, _SERVER, TO_APP)


def _decode(text: str, max_depth: int, adapter: TypeAdapter[Model], models: tuple[type[Said], ...]) -> Model:
    if len(text) > MAX_BYTES:
        raise InvalidMessage(f"a message may have {MAX_BYTES // 1024} KiB at most")
    value = loads(text, max_depth)
    if not isinstance(value, dict):
        raise InvalidMessage("a message must be a JSON object")
    kinds = [model.model_fields["type"].default for model in models]
    kind: object = cast(dict[str, Any], value).get("type")
    if kind is None:
        raise InvalidMessage("type: missing; one of " + ", ".join(kinds))
    if not isinstance(kind, str) or kind not in kinds:
        raise UnknownType(f"type: {shorten(kind)} is not one of " + ", ".join(kinds))
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise InvalidMessage(describe(error)) from None
