"""The AsyncAPI 3 description of `WS /`, generated from the message models."""

from typing import Any

from siwatsystem.asyncapi_parts import Socket, describe
from siwatsystem.messages import (
    ErrorMessage,
    ImageDetection,
    Message,
    PatchSessionIn,
    PatchSessionOut,
    PatchSessionResult,
    RequestState,
    SetSessionId,
    StateReport,
    Subscribe,
    Unsubscribe,
)

TO_WORKER: tuple[type[Message], ...] = (
    Subscribe,
    Unsubscribe,
    RequestState,
    SetSessionId,
    PatchSessionIn,
    PatchSessionResult,
)
FROM_WORKER: tuple[type[Message], ...] = (
    StateReport,
    ImageDetection,
    PatchSessionOut,
    PatchSessionResult,
    ErrorMessage,
)
WORKER = Socket(
    title="Detector worker",
    description="Subscribe displays to cameras and hear what is seen. JSON text messages.",
    address="/",
    receives=("toWorker", TO_WORKER),
    sends=("fromWorker", FROM_WORKER),
)


def document(version: str) -> dict[str, Any]:
    """The whole document, as JSON values. `version` is the worker's."""
    return describe(WORKER, version)
