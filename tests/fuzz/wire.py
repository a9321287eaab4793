"""Messages: any text → effects, every answer a message of the AsyncAPI document, everything applied."""

# ruff: noqa: PT017 - what is refused may be any of many, and is looked at more closely

import json
from functools import cache
from random import Random
from typing import Any

from jsonschema import Draft202012Validator

from siwatsystem.asyncapi import FROM_WORKER, document
from siwatsystem.config import WebSocketSettings
from siwatsystem.displays import Displays
from siwatsystem.download import bare_url
from siwatsystem.errors import SiwatError
from siwatsystem.messages import PatchSessionIn, Subscribe, encode
from siwatsystem.session import Answer, Apply, Close, Conversation
from siwatsystem.subscriptions import Subscription
from tests.fuzz import mutation
from tests.fuzz.target import Input, Target

PAYLOAD: dict[str, Any] = {
    "subscriptionIdentifier": "display-001;cam-001",
    "rtspUrl": "rtsp://user:secret@camera/stream",
    "modelUrl": "http://models/cars.mpta?signature=5",
    "modelName": "Cars",
    "modelId": 101,
}
SNAPSHOT = {"snapshotUrl": "http://camera/jpg", "snapshotInterval": 500}
CROP = {"cropX1": 1, "cropY1": 2, "cropX2": 300, "cropY2": 400}
LEGACY = {key: value for key, value in PAYLOAD.items() if key != "subscriptionIdentifier"}
CAR = {"carBrand": "Honda", "carYear": 2020, "bodyType": None}
DATA = {"progressionStage": "welcome", "currentCar": CAR, "adsPlayback": {"adsId": 5}}
EXAMPLES: tuple[dict[str, Any], ...] = (
    {"type": "subscribe", "payload": PAYLOAD},
    {"type": "subscribe", "payload": {**PAYLOAD, **SNAPSHOT, **CROP}},
    {"type": "subscribe", "payload": {**LEGACY, "cameraIdentifier": "cam-1"}},
    {"type": "unsubscribe", "payload": {"subscriptionIdentifier": "display-001;cam-001"}},
    {"type": "unsubscribe", "payload": {"cameraIdentifier": "cam-1"}},
    {"type": "requestState"},
    {"type": "setSessionId", "payload": {"displayIdentifier": "display-001", "sessionId": 12345}},
    {"type": "setSessionId", "payload": {"displayIdentifier": "display-001", "sessionId": None}},
    {"type": "patchSession", "sessionId": "visit-1", "data": DATA},
    {"type": "patchSessionResult", "payload": {"sessionId": 5, "success": True, "message": "merged"}},
)


@cache
def validators() -> dict[str, Draft202012Validator]:
    """What the AsyncAPI document says of each message from the worker, by its type."""
    whole = document("0")
    return {
        model.model_fields["type"].default: Draft202012Validator(
            {"$ref": f"#/components/schemas/{model.__name__}", **whole}
        )
        for model in FROM_WORKER
    }


def make(random: Random) -> Input:
    """A message that was one, any text, or bytes."""
    kind = random.randrange(20)
    if kind == 0:
        return mutation.noise(random)
    if kind == 1:
        return mutation.noise(random).decode("latin-1")
    value = mutation.changed(random, random.choice(EXAMPLES))
    text = mutation.dumped(random, value)
    return text.encode("utf-8", "surrogatepass") if kind == 2 else text


def check(text: Input) -> bool:
    """Whether it is a command; every effect is a good one."""
    effects = Conversation(WebSocketSettings()).receive(text, 0.0)
    assert effects
    for effect in effects:
        match effect:
            case Answer(message=message):
                told = json.loads(encode(message))
                validators()[told["type"]].validate(told)
                # Only who named a subscription by its camera's address is told that name again.
                assert "secret" not in json.dumps([told.get("error"), told.get("code")])
            case Close(code=code, reason=reason):
                assert code in (1008, 1009)
                assert len(reason.encode()) <= 123
            case Apply(command=command):
                assert isinstance(text, str)
                _apply(command)
    return isinstance(effects[0], Apply)


def _apply(command: object) -> None:
    """What the cores make of it; anything but an error of the family is a crash."""
    if isinstance(command, Subscribe):
        wanted = Subscription.from_payload(command.payload)
        assert wanted.display_id
        bare_url(wanted.model_url)
    if isinstance(command, PatchSessionIn):
        displays = Displays()
        try:
            for _ in range(2):
                displays.patch(command.session_id, command.data)
        except SiwatError as refused:
            assert refused.code == "invalid_message"
            return
        assert isinstance(displays.data(command.session_id), dict)


TARGETS = (Target("messages", make, check, share=0.2),)
