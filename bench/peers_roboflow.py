"""Roboflow's `InferencePipeline.init_with_custom_logic` on four cameras, with an ONNX file.

    .demo/peers-venv/bin/python -m bench.peers_roboflow MODEL.onnx

Runs in an environment of its own (`requirements.peers.txt`): nothing but that, the standard library and
`bench.peers_child` is imported. Custom logic is what its manual shows: pictures in, predictions out,
here with ONNX Runtime, on as many threads as the other sides. Its settings are left as they are.
"""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.peers_child import Said, serve

MIN_CONFIDENCE = 0.5
MAX_OVERLAP = 0.7


class Roboflow:
    """An ONNX detector behind an InferencePipeline."""

    def __init__(self, model: Path) -> None:
        import numpy as np
        import onnxruntime
        from inference import InferencePipeline

        self._pipeline = InferencePipeline
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        taken = self._session.get_inputs()[0]
        self._input = taken.name
        self._size: tuple[int, int] = taken.shape[2], taken.shape[3]
        self.about = {
            "runtime": f"onnxruntime {onnxruntime.__version__}",
            "precision": "f32",
            "input": list(self._size),
            "threads": options.intra_op_num_threads,
            "inference": _version("inference"),
        }
        self.predict(np.zeros((1080, 1920, 3), np.uint8))

    def run(self, urls: Sequence[str], said: Said, stop: threading.Event) -> None:
        def tell(_predictions: Any, frames: Any) -> None:
            for frame in frames:
                if frame is not None:
                    said(frame.source_id)

        pipeline = self._pipeline.init_with_custom_logic(
            video_reference=list(urls),
            on_video_frame=lambda frames: [self.predict(frame.image) for frame in frames],
            on_prediction=tell,
        )
        pipeline.start(use_main_thread=False)
        stop.wait()
        pipeline.terminate()
        pipeline.join()

    def predict(self, image: Any) -> Any:
        """Boxes (N×6: left, top, right, bottom, confidence, class) in the picture's pixels."""
        import cv2
        import numpy as np

        height, width = image.shape[:2]
        size = self._size
        scale = min(size[0] / height, size[1] / width)
        inner = round(height * scale), round(width * scale)
        top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
        padded = np.full((*size, 3), 114, np.uint8)
        padded[top : top + inner[0], left : left + inner[1]] = cv2.resize(image, inner[::-1])
        tensor = cv2.dnn.blobFromImage(padded, 1 / 255, swapRB=True)
        rows = self._session.run(None, {self._input: tensor})[0][0].T
        scores = rows[:, 4:]
        sure = scores.max(1) > MIN_CONFIDENCE
        rows, scores = rows[sure], scores[sure]
        classes, best = scores.argmax(1), scores.max(1, initial=0)
        corners = rows[:, :2] - rows[:, 2:4] / 2
        boxes = np.concatenate([corners, rows[:, 2:4]], 1).tolist()
        found = cv2.dnn.NMSBoxesBatched(boxes, best.tolist(), classes.tolist(), MIN_CONFIDENCE, MAX_OVERLAP)
        kept = np.asarray(found, int)
        corners = np.concatenate([corners, corners + rows[:, 2:4]], 1)[kept]
        corners = (corners - [left, top, left, top]) / scale
        return np.concatenate([corners, best[kept, None], classes[kept, None]], 1)


def _version(name: str) -> str:
    from importlib.metadata import version

    return version(name)


if __name__ == "__main__":
    serve(lambda: Roboflow(Path(sys.argv[1])))
