"""Video over HTTP (MJPEG, MPEG-TS, MP4, HLS): fetched here, decoded by FFmpeg.

FFmpeg's own HTTP would follow redirects and playlists to any address.
"""

import time
from collections.abc import Mapping
from typing import Any

import requests
import urllib3

from siwatsystem.errors import StreamError, StreamLost
from siwatsystem.streams.address import parse_address
from siwatsystem.streams.decoder import Decoder, open_container
from siwatsystem.streams.http import CameraHttp, http_error
from siwatsystem.streams.reader import Opening, Picture

_SEEK = {"protocol_whitelist": "http,https,tcp,tls,crypto,data"}


class Body:
    """A response's body as FFmpeg reads it: what there is, without waiting for a full buffer."""

    def __init__(self, response: requests.Response, opening: Opening, name: str) -> None:
        self.name = name
        self.failure: StreamError | None = None
        self._response = response
        self._cutoff = opening.cutoff

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end, or after a failure, which `failure` then tells."""
        try:
            data: bytes = self._response.raw.read1(size)
        except (OSError, urllib3.exceptions.HTTPError) as error:
            self.failure = http_error(error, self._cutoff)
            return b""
        return b"" if self._cutoff.check(time.monotonic()) else data

    def close(self) -> None:
        self._response.close()


class WebReader:
    """Decodes a response, and closes it together with all that its playlist made us fetch."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._http = CameraHttp(opening.settings, opening.cutoff)
        self._bodies: list[Body] = []
        seconds = opening.settings.connect_timeout_sec + opening.settings.read_timeout_sec
        try:
            with opening.cutoff.limit(seconds, f"no stream within {seconds:g} s"):
                body = self._open(opening.address.url(credentials=False))
            kind = self._bodies[0].name
            more: dict[str, Any] = {"format": "mpjpeg"} if kind == "multipart" else {}
            self.decoder = self._container(body, more)
        except StreamError:
            self._close_http()
            raise

    def read(self) -> Picture | None:
        try:
            return self.decoder.read()
        except StreamLost:
            raise self._bodies[0].failure or StreamLost("the stream has ended") from None

    def close(self) -> None:
        self.decoder.close()
        self._close_http()

    def _container(self, body: Body, more: dict[str, Any]) -> Decoder:
        try:
            return open_container(body, self._opening, _SEEK, io_open=self._nested, **more)
        except StreamError as error:
            raise body.failure or error from None

    def _open(self, url: str) -> Body:
        address = parse_address(url, self._opening.settings)
        if (address.host, address.port) == (self._opening.address.host, self._opening.address.port):
            address = self._opening.address.at(address.target)
        response = self._http.get(address)
        multipart = response.headers.get("content-type", "").lower().startswith("multipart/")
        body = Body(response, self._opening, "multipart" if multipart else url)
        self._bodies.append(body)
        return body

    def _nested(self, url: str, _flags: int, _options: Mapping[str, str]) -> Body:
        """What a playlist names; FFmpeg closes it."""
        body = self._open(url)
        del self._bodies[1:-1]
        return body

    def _close_http(self) -> None:
        for body in self._bodies:
            body.close()
        self._http.close()


def open_web(opening: Opening) -> WebReader:
    """Open an `http` or `https` address as a stream. Raises StreamError."""
    return WebReader(opening)
