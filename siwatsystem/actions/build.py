"""From an action's configuration and an event's context to a job. Decides; touches no server."""

import json
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from siwatsystem.actions import templates
from siwatsystem.actions.base import Job
from siwatsystem.actions.receivers import webhook_target
from siwatsystem.actions.registry import KINDS
from siwatsystem.actions.spec import (
    KafkaPublish,
    MessageAction,
    MqttPublish,
    PictureFormat,
    Publish,
    SaveImage,
    UpdateCombined,
    Webhook,
)
from siwatsystem.frames import Image, encode_jpeg, encode_png

log = logging.getLogger(__name__)

Context = Mapping[str, object]
COMPLETED = ("display_id", "session_id", "timestamp", "image_key")
"""Keys that a published JSON object gets from the context where it lacks them, beside `event`."""


class Picture:
    """A picture (BGR) that is encoded when the outbox first writes it, once for all jobs that save it."""

    __slots__ = ("_data", "_lock", "format", "image", "nbytes", "quality")

    def __init__(self, image: Image, format: PictureFormat, quality: int) -> None:
        # A view would keep the whole frame alive for as long as the picture waits to be written.
        view = isinstance(image.base, np.ndarray) and image.base.nbytes > image.nbytes
        self.image: Image | None = image.copy() if view else image
        self._data = b""
        self._lock = threading.Lock()
        self.format = format
        self.quality = quality
        self.nbytes = image.nbytes

    def __call__(self) -> bytes:
        """The encoded picture. Raises ValueError where it cannot be encoded."""
        with self._lock:
            if self.image is not None:
                self._data = self._encoded(self.image)
                self.image = None
            return self._data

    def _encoded(self, image: Image) -> bytes:
        return encode_png(image) if self.format == "png" else encode_jpeg(image, self.quality)


def save_image_job(
    action: SaveImage, context: Context, picture: Picture, target: str, now: float | None = None
) -> Job:
    """The job that stores `picture` (the region or the frame); its key is `payload["key"]`.

    `now` (Unix time) is when `expire_seconds` begins to count. Names without a value render as
    nothing.
    """
    start = time.time() if now is None else now
    return Job(
        kind="redis_save_image",
        target=target,
        payload={"key": templates.render(action.key, _Lenient(context))},
        blob=picture,
        expires_at=None if action.expire_seconds is None else start + action.expire_seconds,
    )


def message_job(action: MessageAction, context: Context, targets: Mapping[str, str]) -> Job:
    """The job that says the message; a JSON object is completed. Missing values are null.

    `targets`: outbox target keys by server kind; a webhook brings its own.
    """
    lenient = _Lenient(context)
    said = {"message": _message(action.message, lenient)}
    match action:
        case Publish():
            payload = {"channel": templates.render(action.channel, lenient), **said}
        case MqttPublish():
            topic = re.sub(r"[+#\0]", "_", templates.render(action.topic, lenient))
            payload = {"topic": topic, "retain": action.retain, **said}
        case KafkaPublish():
            topic = re.sub(r"[^\w.-]", "_", templates.render(action.topic, lenient), flags=re.ASCII)
            key = None if action.key is None else templates.render(action.key, lenient)
            payload = {"topic": topic, "key": key, **said}
        case Webhook():
            target = webhook_target(action.url, action.secret, action.signed)
            to = target.place.removeprefix("webhook at ")
            return Job(kind=action.type, target=target.key, payload={"to": to, **said})
    return Job(kind=action.type, target=targets[KINDS[action.type].server], payload=payload)


def update_job(action: UpdateCombined, context: Context, target: str) -> Job | None:
    """The job that writes the fields that have values; None (logged) where none has, or the key lacks one."""
    values = {name: _field(name, text, context) for name, text in action.fields.items()}
    missing = [name for name, value in values.items() if value is None]
    if missing:
        log.warning("%s: fields without a value left out: %s", action.table, ", ".join(missing))
    # Constants and NOW() alone say nothing about the car: at least one looked-up value must be there.
    asked = [name for name, text in action.fields.items() if templates.placeholders(str(text))] or values
    if all(values[name] is None for name in asked):
        log.warning("%s: nothing written, no field has a value", action.table)
        return None
    key = _field(action.key_field, action.key_value, context)
    if key is None or key == "":
        log.warning("%s: nothing written, %s has no value", action.table, action.key_field)
        return None
    now = [name for name, text in action.fields.items() if text == "NOW()"]
    fields = {name: value for name, value in values.items() if value is not None and name not in now}
    payload: dict[str, Any] = {
        "table": action.table,
        "key_field": action.key_field,
        "key_value": key,
        "fields": fields,
        "now": now,
    }
    return Job(kind="postgresql_update_combined", target=target, payload=payload)


def initial_record_job(display_id: str, captured_timestamp: str, session_id: str, target: str) -> Job:
    """The job that inserts the first record of a session; the first capture is kept."""
    payload = {
        "display_id": display_id,
        "captured_timestamp": captured_timestamp,
        "session_id": session_id,
    }
    return Job(kind="postgresql_initial_record", target=target, payload=payload)


def _message(text: str, context: Context) -> str:
    try:
        message = json.loads(templates.render(text, context, json=True))
    except ValueError:
        return templates.render(text, context)
    if not isinstance(message, dict):
        return templates.render(text, context)
    message.setdefault("event", "frontal_detected")
    for name in COMPLETED:
        message.setdefault(name, context.get(name))
    return json.dumps(message, ensure_ascii=False, default=str)


def _field(name: str, value: str | int | float | bool | None, context: Context) -> str | int | float | None:
    """The value to write: None where it has none, be it missing or null."""
    if not isinstance(value, str):
        return value
    names = templates.placeholders(value)
    try:
        if len(names) == 1 and value == f"{{{names[0]}}}" and templates.lookup(names[0], context) is None:
            return None
        return templates.render(value, context)
    except templates.Unresolved as error:
        log.info("field %s: %s", name, error)
        return None


class _Lenient(Mapping[str, object]):
    """A context in which what is missing is null."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __getitem__(self, name: str) -> object:
        try:
            return templates.lookup(name, self._context)
        except templates.Unresolved:
            return None

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._context)

    def __len__(self) -> int:
        return len(self._context)
