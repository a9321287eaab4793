"""Wire messages made from what the worker knows.

The two that are sent by the thousand are written straight as JSON; `messages` has their models, which
give the same text, and tests hold both to that.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from siwatsystem.messages import Encoded
from siwatsystem.pipeline.events import Event
from siwatsystem.subscriptions import Subscription
from siwatsystem.usage import Usage
from siwatsystem.wire_time import wire_time


def camera_connection(subscription: Subscription, online: bool) -> dict[str, Any]:
    """What a state report says of a subscription (`messages.CameraConnection`)."""
    fields: dict[str, Any] = {
        **_names(subscription),
        "modelId": subscription.model_id,
        "modelName": subscription.model_name,
        "online": online,
    }
    if subscription.crop is not None:
        fields.update(zip(("cropX1", "cropY1", "cropX2", "cropY2"), subscription.crop, strict=True))
    return fields


class StateReports:
    """Writes state reports. What is said of a subscription is kept as it was written, while it holds."""

    def __init__(self) -> None:
        self._written: dict[str, tuple[Subscription, bool, orjson.Fragment]] = {}

    def __len__(self) -> int:
        return len(self._written)

    def report(
        self, usage: Usage, cameras: Iterable[tuple[Subscription, bool]], failed: Sequence[str] = ()
    ) -> Encoded:
        """`messages.StateReport` of these subscriptions, each with whether it is online; `failed` are the
        parts of the worker that have."""
        body: dict[str, Any] = {
            "type": "stateReport",
            "cpuUsage": usage.cpu,
            "memoryUsage": usage.memory,
            "gpuUsage": usage.gpu,
            "gpuMemoryUsage": usage.gpu_memory,
            "cameraConnections": [self._entry(subscription, online) for subscription, online in cameras],
        }
        if failed:
            body["failed"] = failed
        return Encoded("stateReport", orjson.dumps(body).decode())

    def forget(self, identifier: str) -> None:
        """The subscription has ended."""
        self._written.pop(identifier, None)

    def _entry(self, subscription: Subscription, online: bool) -> orjson.Fragment:
        known = self._written.get(subscription.identifier)
        if known is not None and known[0] is subscription and known[1] == online:
            return known[2]
        entry = orjson.Fragment(orjson.dumps(camera_connection(subscription, online)))
        self._written[subscription.identifier] = (subscription, online, entry)
        return entry


def image_detection(
    subscription: Subscription,
    event: Event,
    offset: tuple[int, int],
    captured_at: float,
    session_id: int | str | None,
) -> Encoded:
    """The message for one event (`messages.ImageDetection`); `offset` is where the picture lies in the
    full frame."""
    dx, dy = offset
    x1, y1, x2, y2 = event.xyxy
    detection: dict[str, Any] = {"class": event.class_name, "confidence": round(event.confidence, 4)}
    if event.tracker_id is not None:
        detection["trackId"] = event.tracker_id
    detection.update(event.attributes)
    body: dict[str, Any] = {
        "type": "imageDetection",
        **_names(subscription),
        "timestamp": wire_time(captured_at),
    }
    if session_id is not None:
        body["sessionId"] = session_id
    body["data"] = {
        "detection": detection,
        "boundingBox": [round(edge, 1) for edge in (x1 + dx, y1 + dy, x2 + dx, y2 + dy)],
        "modelId": subscription.model_id,
        "modelName": subscription.model_name,
    }
    text = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return Encoded("imageDetection", text, subscription.identifier)


def _names(subscription: Subscription) -> dict[str, str]:
    names = {"subscriptionIdentifier": subscription.identifier}
    if subscription.legacy:
        names["cameraIdentifier"] = subscription.identifier
    return names
