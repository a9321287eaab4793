"""Cameras that are asked for one picture at a time over HTTP."""

import time

import cv2
import numpy as np
import requests
import urllib3

from siwatsystem import metrics
from siwatsystem.errors import StreamRefused, StreamUnreachable
from siwatsystem.frames import Image
from siwatsystem.streams.http import CameraHttp, http_error
from siwatsystem.streams.reader import Opening, Picture
from siwatsystem.streams.singles import Watched

_CHUNK = 65536
_DIGITS = 18
"""Of a number that is sent; Python refuses to read thousands of them."""
_LEAST_INTERVAL_SEC = 0.02


class SnapshotReader:
    """Fetches a picture every interval; one that is late is fetched at once, none is made up for."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._interval = max((opening.spec.snapshot_interval_ms or 1000) / 1000, _LEAST_INTERVAL_SEC)
        self._http = CameraHttp(opening.settings, opening.cutoff)
        self._watched = Watched(opening)
        self._due = 0.0

    def read(self) -> Picture | None:
        """The next picture. Raises StreamError for an answer that is none."""
        now = time.monotonic()
        if self._opening.cutoff.wait(self._due - now):
            return None
        self._due = max(self._due, now) + self._interval
        body, captured_at, monotonic = self._fetch()
        # It was fetched as often as the subscription says, but not all may be needed.
        if not self._watched.takes(time.monotonic()):
            return None
        return Picture(self._decoded(body), captured_at, monotonic)

    def close(self) -> None:
        self._http.close()

    def _fetch(self) -> tuple[bytes, float, float]:
        """A picture's bytes, and when its answer began, on both clocks: by then the camera had it."""
        seconds = self._opening.settings.read_timeout_sec
        cutoff = self._opening.cutoff
        with cutoff.limit(seconds, f"no complete picture within {seconds:g} s"):
            response = self._http.get(self._opening.address)
            captured_at, monotonic = time.time(), time.monotonic()
            try:
                self._refuse_old(response)
                return self._body(response), captured_at, monotonic
            except (OSError, urllib3.exceptions.HTTPError) as error:
                raise http_error(error, cutoff) from None
            finally:
                response.close()

    def _refuse_old(self, response: requests.Response) -> None:
        """A cache says how old its answer is. A camera's `Date` and `Last-Modified` go by its own clock,
        which may never have been set: they are not asked."""
        age = response.headers.get("age", "")
        if age.isdecimal() and int(age[:_DIGITS]) > self._opening.stale_after_sec:
            raise StreamUnreachable(f"the picture comes out of a cache, and is {age[:_DIGITS]} s old")

    def _body(self, response: requests.Response) -> bytes:
        most = self._opening.settings.snapshot_max_mb * 1_000_000
        announced = response.headers.get("content-length", "")
        body = bytearray()
        too_large = announced.isdecimal() and int(announced[:_DIGITS]) > most
        while not too_large:
            chunk = response.raw.read1(_CHUNK)
            # A connection that was cut looks like one that ended well.
            if self._opening.cutoff.check(time.monotonic()):
                raise StreamUnreachable(self._opening.cutoff.reason)
            if not chunk:
                return bytes(body)
            body += chunk
            too_large = len(body) > most
        raise StreamUnreachable("the picture is larger than streams.snapshot_max_mb allows")

    def _decoded(self, body: bytes) -> Image:
        image: Image | None = None
        if body:
            image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)  # pyright: ignore[reportAssignmentType]
        if image is None:
            metrics.DECODE_ERRORS.labels(self._opening.spec.label).inc()
            raise StreamUnreachable("what the camera answers is no picture")
        self._watched.decoded()
        return image


def open_snapshot(opening: Opening) -> SnapshotReader:
    """A reader of an `http` or `https` address; the first fetch comes with the first read."""
    if opening.address.scheme not in ("http", "https"):
        raise StreamRefused(f"snapshots come over http or https, not {opening.address.scheme}")
    return SnapshotReader(opening)
