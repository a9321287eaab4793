"""ultralytics' own way of many cameras: `predict(streams_file, stream=True)`.

    python -m bench.peers_ultralytics WEIGHTS --precision bf16 --batch 4

Its OpenVINO export of the weights (made by its exporter, once) at the size that its `rect` makes of 16:9
pictures, for as many pictures as there are cameras: of the two ways to export for many cameras, this
and `dynamic=True`, the faster one here. `--dynamic` is the other.
Frames and what is done with them are left to it: nobody looks at a `Results`, nothing is saved or drawn.
"""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.peers_child import Said, serve
from bench.peers_export import exported, input_of
from bench.peers_process import FOLDER

MIN_CONFIDENCE = 0.5


class Ultralytics:
    """A YOLO model that predicts on a file of stream addresses."""

    def __init__(self, model: Path, imgsz: Any, about: dict[str, Any]) -> None:
        from ultralytics import YOLO

        self._model = YOLO(str(model), task="detect")
        self._imgsz = imgsz
        self.about = about
        # Loads the model now, so that what it was compiled to can be told.
        import numpy as np

        pictures = [np.zeros((1080, 1920, 3), np.uint8)] * about["batch"]
        self._model.predict(pictures, imgsz=imgsz, verbose=False, save=False)
        assert self._model.predictor is not None
        compiled = getattr(self._model.predictor.model.backend, "ov_compiled_model", None)
        if compiled is not None:
            about["precision"] = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
            about["threads"] = compiled.get_property("INFERENCE_NUM_THREADS")

    def run(self, urls: Sequence[str], said: Said, stop: threading.Event) -> None:
        streams = FOLDER / f"{os.getpid()}.streams"
        streams.write_text("\n".join(urls) + "\n", encoding="utf-8")
        names = [url.rpartition("/")[2] for url in urls]
        results = self._model.predict(
            str(streams), stream=True, conf=MIN_CONFIDENCE, imgsz=self._imgsz, verbose=False, save=False
        )
        try:
            for result in results:
                # A result a camera and frame; its path is the address with every slash replaced.
                said(next(i for i, name in enumerate(names) if result.path.endswith(name)))
                if stop.is_set():
                    break
        finally:
            results.close()
            streams.unlink()


def at_precision(precision: str) -> None:
    """Have OpenVINO compile at `precision`: left to itself it takes bf16 where the processor can."""
    import openvino

    class Core(openvino.Core):
        def compile_model(self, model: Any, device_name: Any = None, config: Any = None) -> Any:
            return super().compile_model(
                model, device_name, {**(config or {}), "INFERENCE_PRECISION_HINT": precision}
            )

    openvino.Core = Core


def main(
    weights: Path,
    precision: Annotated[str, typer.Option(help="f32 or bf16; its own choice where absent")] = "",
    batch: Annotated[int, typer.Option(help="Cameras")] = 4,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Export for any number and size")] = False,
) -> None:
    """Answer commands on standard input, see `bench.peers_child`."""

    def load() -> Ultralytics:
        if precision:
            at_precision(precision)
        way = "dynamic" if dynamic else "batch"
        size = list(input_of(weights))
        about = {"runtime": "openvino", "batch": batch, "export": way, "input": size}
        options: dict[str, Any] = {"dynamic": True} if dynamic else {"imgsz": size, "batch": batch}
        model = exported(weights, "openvino", **options)
        return Ultralytics(model, size[1] if dynamic else size, about)

    serve(load)


if __name__ == "__main__":
    typer.run(main)
