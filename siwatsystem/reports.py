"""Wire messages made from what the worker knows."""

from collections.abc import Sequence
from datetime import UTC, datetime

from siwatsystem.messages import CameraConnection, DetectionData, ImageDetection, StateReport
from siwatsystem.pipeline.events import Event
from siwatsystem.subscriptions import Subscription
from siwatsystem.usage import Usage


def wire_time(seconds: float) -> str:
    """Seconds since 1970 as `2025-07-14T12:34:56.789Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def camera_connection(subscription: Subscription, online: bool) -> CameraConnection:
    fields: dict[str, object] = {
        **_names(subscription),
        "modelId": subscription.model_id,
        "modelName": subscription.model_name,
        "online": online,
    }
    if subscription.crop is not None:
        fields.update(zip(("cropX1", "cropY1", "cropX2", "cropY2"), subscription.crop, strict=True))
    return CameraConnection.model_validate(fields)


def state_report(usage: Usage, cameras: Sequence[CameraConnection]) -> StateReport:
    return StateReport.model_validate(
        {
            "cpuUsage": usage.cpu,
            "memoryUsage": usage.memory,
            "gpuUsage": usage.gpu,
            "gpuMemoryUsage": usage.gpu_memory,
            "cameraConnections": list(cameras),
        }
    )


def image_detection(
    subscription: Subscription,
    event: Event,
    offset: tuple[int, int],
    captured_at: float,
    session_id: int | str | None,
) -> ImageDetection:
    """The message for one event; `offset` is where the picture lies in the full frame."""
    dx, dy = offset
    x1, y1, x2, y2 = event.xyxy
    detection: dict[str, object] = {"class": event.class_name, "confidence": round(event.confidence, 4)}
    if event.tracker_id is not None:
        detection["trackId"] = event.tracker_id
    detection.update(event.attributes)
    data = DetectionData.model_validate(
        {
            "detection": detection,
            "boundingBox": [round(edge, 1) for edge in (x1 + dx, y1 + dy, x2 + dx, y2 + dy)],
            "modelId": subscription.model_id,
            "modelName": subscription.model_name,
        }
    )
    fields: dict[str, object] = {
        **_names(subscription),
        "timestamp": wire_time(captured_at),
        "data": data,
    }
    if session_id is not None:
        fields["sessionId"] = session_id
    return ImageDetection.model_validate(fields)


def _names(subscription: Subscription) -> dict[str, object]:
    names: dict[str, object] = {"subscriptionIdentifier": subscription.identifier}
    if subscription.legacy:
        names["cameraIdentifier"] = subscription.identifier
    return names
