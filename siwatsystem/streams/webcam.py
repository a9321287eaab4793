"""Cameras of this machine, by index."""

import os
import time

import cv2

from siwatsystem.errors import StreamLost, StreamUnreachable
from siwatsystem.streams.reader import Opening, Picture
from siwatsystem.streams.singles import Watched


class WebcamReader:
    """A local camera; every picture is converted by the driver's library as it comes."""

    def __init__(self, opening: Opening) -> None:
        index = int(opening.address.target)
        self._watched = Watched(opening)
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            self._capture.release()
            raise StreamUnreachable(f"there is no webcam {index}, or another program holds it")

    def read(self) -> Picture | None:
        """The next picture; None for one that nobody needs. Raises StreamLost when the camera is gone."""
        done, image = self._capture.grab(), None
        captured_at, monotonic = time.time(), time.monotonic()
        if done:
            if not self._watched.takes(monotonic):
                return None
            done, image = self._capture.retrieve()
        if not done:
            raise StreamLost("the webcam delivers no more pictures")
        self._watched.decoded()
        return Picture(image, captured_at, monotonic)  # pyright: ignore[reportArgumentType]

    def close(self) -> None:
        self._capture.release()


def open_webcam(opening: Opening) -> WebcamReader:
    """Open a `webcam` address. Raises StreamUnreachable."""
    # OpenCV cannot be interrupted and waits 10 s for a frame unless it is told otherwise.
    seconds = max(1, min(3, int(opening.settings.read_timeout_sec)))
    # Nor says it less than ten lines of a camera that is not there, which is told in one.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(seconds))
    return WebcamReader(opening)
