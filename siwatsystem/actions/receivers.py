"""Receivers of webhooks: where one is, and the key that its messages are signed with."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from siwatsystem.actions.targets import Target, usable_host
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import TargetUnavailable

_LEAST_BYTES = 16
_PORTS = {"http": 80, "https": 443}


def usable_url(url: str) -> str:
    """The address, if messages may be sent there. Raises ValueError, which quotes nothing of its path."""
    if not re.fullmatch(r"https?://[!-~]+", url):
        raise ValueError("no address of a receiver: https://… or http://… of printable ASCII characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    else:
        if parts.username is not None or parts.fragment:
            raise ValueError("an address with a login or a fragment; a receiver knows its sender by `secret`")
    if not host or port == 0:
        raise ValueError("an address without a host")
    usable_host(host)
    return url


def usable_secret(secret: str) -> str:
    """The secret, if messages can be signed with it. Raises ValueError, which does not quote it."""
    if len(signing_key(secret)) < _LEAST_BYTES:
        raise ValueError(f"a secret of less than {_LEAST_BYTES} bytes")
    return secret


def signing_key(secret: str) -> bytes:
    """The key in `whsec_` and base64, as Standard Webhooks writes it; else the text's own bytes. Raises
    ValueError."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("a secret that is no base64 after whsec_") from None


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """`webhook-signature` of Standard Webhooks: HMAC-SHA256 over id, Unix time and body."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def webhook_target(url: str, secret: str | None, signed: bool) -> Target:
    """The target of a `webhook` action. Raises ValueError for an address that may not be used."""
    parts = urlsplit(usable_url(url))
    settings: dict[str, Any] = {
        "host": parts.hostname,
        "port": parts.port or _PORTS[parts.scheme],
        "secret": secret,
        "signed": signed,
        "url": url,
    }
    return Target("webhook", tuple(sorted(settings.items())))


def key_for(config: Mapping[str, Any], settings: OutboxSettings) -> bytes | None:
    """What messages to the receiver are signed with: the archive's secret, else the worker's for that
    receiver; None where they are not to be signed. Raises TargetUnavailable where there is none."""
    if not config["signed"]:
        return None
    secret = config["secret"] or _own_secret(_origin(config["url"]), settings)
    try:
        return signing_key(usable_secret(secret))
    except ValueError as error:
        raise TargetUnavailable(f"its messages cannot be signed: {error}") from None


def _own_secret(origin: str, settings: OutboxSettings) -> str:
    for url, secret in settings.webhook_secrets.items():
        if _origin(url) == origin:
            return secret.get_secret_value()
    for url, path in settings.webhook_secret_files.items():
        if _origin(url) == origin:
            return _read(path)
    raise TargetUnavailable(
        "its messages cannot be signed: neither the archive nor outbox.webhook_secrets has a secret for"
        f" {origin}"
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise TargetUnavailable(f"its messages cannot be signed: {path}: {reason}") from None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
