"""Pictures of a worker over HTTP."""

import http.client
import ssl
from urllib.parse import quote, urlsplit

import orjson

from siwatsystem.client import arguments
from siwatsystem.client.errors import NoImage, Unauthorized, Unreachable

MAX_BYTES = 64 << 20


def image_path(base: str, identifier: str, *, overlay: bool = False, full: bool = False) -> str:
    """The path of a subscription's picture below that of the worker's address."""
    options = [f"{name}=1" for name, wanted in (("overlay", overlay), ("full", full)) if wanted]
    query = f"?{'&'.join(options)}" if options else ""
    return f"{base.rstrip('/')}/camera/{quote(identifier, safe='')}/image{query}"


def base_path(url: str) -> str:
    """Where the worker stands on its host, behind a proxy for instance."""
    return urlsplit(url).path


def get(
    url: str, path: str, *, token: str | None, timeout: float, context: ssl.SSLContext | None = None
) -> tuple[int, str, bytes]:
    """Status, content type and body of a GET to the host of `url` (ws, wss, http or https); blocks.

    Redirects are answers like others: a token is never sent elsewhere. Raises Unreachable.
    """
    parts, shown = urlsplit(url), arguments.shown(url)
    secure = parts.scheme in ("wss", "https")
    try:
        host, port = parts.hostname or "", parts.port
        connection = (
            http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
            if secure
            else http.client.HTTPConnection(host, port, timeout=timeout)
        )
    except (ValueError, http.client.HTTPException) as error:
        raise Unreachable(f"{shown}: {error}") from None
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("content-type", ""), answer.read(MAX_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{shown}: {str(error) or type(error).__name__}") from None
    finally:
        connection.close()


def picture(status: int, kind: str, body: bytes) -> bytes:
    """The JPEG of an answer. Raises Unauthorized, or NoImage for any other answer than a picture."""
    if status in (401, 403):
        raise Unauthorized(f"refused with HTTP {status}; the token is missing or wrong")
    if status != 200 or not kind.startswith("image/"):
        raise NoImage(status, _reason(body)[:300])
    return body


def _reason(body: bytes) -> str:
    """What a refusal says: a worker's is JSON with a `detail`, that of a proxy may be anything."""
    try:
        return str(orjson.loads(body)["detail"])
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return body[:300].decode(errors="replace")
