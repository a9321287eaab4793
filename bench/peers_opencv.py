"""What is written first: a thread a camera that reads with OpenCV, and `predict` on torch in a loop.

    python -m bench.peers_opencv WEIGHTS

The threads read every frame and keep the newest. The loop asks one camera after the other, those
without a new frame left out, so a camera that stops holds up nobody.
"""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from bench.peers_child import Said, serve
from bench.peers_export import input_of

MIN_CONFIDENCE = 0.5


class Newest:
    """A camera's newest frame, taken at most once."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        self._url = url
        self._stop = stop
        self._image: Any = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def take(self) -> Any:
        """The frame, None where it was taken already."""
        with self._lock:
            image, self._image = self._image, None
        return image

    def join(self) -> None:
        self._thread.join(5)

    def _read(self) -> None:
        import cv2

        capture = cv2.VideoCapture(self._url)
        while not self._stop.is_set():
            there, image = capture.read()
            if not there:
                break
            with self._lock:
                self._image = image
        capture.release()


class OpenCVTorch:
    """ultralytics' `predict` of one picture after the other, in f32."""

    def __init__(self, weights: Path) -> None:
        import numpy as np
        import torch
        from ultralytics import YOLO

        # As many as the other sides take; it would count a processor's threads by halves.
        torch.set_num_threads(os.cpu_count() or 1)
        self._model = YOLO(str(weights))
        self._model.predict(np.zeros((1080, 1920, 3), np.uint8), verbose=False, device="cpu")
        self.about = {
            "runtime": "torch",
            "precision": "f32",
            "input": list(input_of(weights)),
            "threads": torch.get_num_threads(),
        }

    def run(self, urls: Sequence[str], said: Said, stop: threading.Event) -> None:
        cameras = [Newest(url, stop) for url in urls]
        while not stop.is_set():
            waited = True
            for index, camera in enumerate(cameras):
                image = camera.take()
                if image is not None:
                    self._model.predict(image, conf=MIN_CONFIDENCE, verbose=False, device="cpu")
                    said(index)
                    waited = False
            if waited:
                stop.wait(0.002)
        for camera in cameras:
            camera.join()


def main(weights: Path) -> None:
    """Answer commands on standard input, see `bench.peers_child`."""
    serve(lambda: OpenCVTorch(weights))


if __name__ == "__main__":
    typer.run(main)
