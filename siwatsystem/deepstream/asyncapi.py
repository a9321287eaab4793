"""The AsyncAPI 3 description of `WS /deepstream/ws`, generated from the message models."""

from typing import Any

from siwatsystem.asyncapi_parts import Socket, describe
from siwatsystem.deepstream.messages import TO_APP, TO_SERVER

APPS = Socket(
    title="Control server, for analysis apps",
    description="An app says `app_ready` first, is fed with cameras and files, and tells what became of "
    "them. JSON text messages; keys that nobody asked for are ignored. deepstream.md shows the order.",
    address="/deepstream/ws",
    receives=("toServer", TO_SERVER),
    sends=("toApp", TO_APP),
)


def document(version: str) -> dict[str, Any]:
    """The whole document, as JSON values. `version` is the control server's."""
    return describe(APPS, version)
