"""Checks of the messages themselves: every one that came in any check, field by field."""

import re
from collections.abc import Iterator

from pydantic import ValidationError

from siwatsystem.conformance.kit import Kit, is_box
from siwatsystem.conformance.outcomes import Failed, Group, Noted, Skipped
from siwatsystem.conformance.wire import Arrived
from siwatsystem.errors import ERROR_CODES
from siwatsystem.messages import (
    ErrorMessage,
    ImageDetection,
    Message,
    PatchSessionOut,
    PatchSessionResult,
    StateReport,
    describe,
)

MODELS: dict[str, type[Message]] = {
    "stateReport": StateReport,
    "imageDetection": ImageDetection,
    "patchSession": PatchSessionOut,
    "patchSessionResult": PatchSessionResult,
    "error": ErrorMessage,
}
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
CROP_KEYS = ("cropX1", "cropY1", "cropX2", "cropY2")

GROUP = Group("fields")


def mistakes(message: Arrived) -> str:
    """What is wrong with one message; empty where nothing is."""
    model = MODELS[message.type]
    try:
        model.model_validate(message.value, strict=True)
    except ValidationError as error:
        return describe(error)
    return "; ".join(_more(message))


def _more(message: Arrived) -> Iterator[str]:
    """What the models do not say."""
    if message.type == "imageDetection" and not TIMESTAMP.fullmatch(str(message.value["timestamp"])):
        yield f"timestamp: {message.value['timestamp']} is not like 2025-07-14T12:34:56.789Z"
    if message.type == "imageDetection":
        box = message.value["data"].get("boundingBox")
        if box is not None and not (is_box(box) and box[0] < box[2] and box[1] < box[3]):
            yield f"data.boundingBox: {box} is not x1, y1, x2, y2"
    for camera in message.cameras() if message.type == "stateReport" else ():
        given = [key for key in CROP_KEYS if camera.get(key) is not None]
        if len(given) not in (0, 4):
            yield f"cameraConnections: {', '.join(given)} without the others"


def _register(kind: str) -> None:
    async def run(kit: Kit) -> None:
        came = [message for message in kit.heard if message.type == kind]
        if not came:
            raise (Noted if kind == "error" else Skipped)("none came in the checks that ran")
        for message in came:
            wrong = mistakes(message)
            if wrong and kind == "error" and message.value.get("code") not in ERROR_CODES:
                raise Noted(f"code {message.value.get('code')!r} is not in the protocol's list")
            if wrong:
                raise Failed(f"{wrong}; in {message.text[:300]}")

    GROUP.check(
        kind,
        expects=f"every {kind} has the fields of the protocol, of the right kinds",
        mend="see the tables of worker.md, or /asyncapi.json of our worker",
    )(run)


for _kind in MODELS:
    _register(_kind)


@GROUP.check(
    "types",
    expects="every message is a JSON object of a type that the protocol has",
    mend="send nothing but the messages of the protocol; a backend cannot know others",
)
async def types(kit: Kit) -> None:
    for message in kit.heard:
        if message.type not in MODELS:
            raise Failed(f"a message of type {message.type!r}: {message.text[:300]}")
