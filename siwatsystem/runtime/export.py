"""The process that turns weights into an exported model: `python -m siwatsystem.runtime.export`.

It runs alone, with a memory limit, no network and nothing of the worker's environment, because
weights come from others and an exporter may take any amount of time and memory. What it has to say
is in `result.json` of its folder.
"""

import json
import shutil
import sys
import warnings
from pathlib import Path

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelError
from siwatsystem.runtime.confine import confine, say
from siwatsystem.runtime.engine_header import ENGINE
from siwatsystem.runtime.silence import silence
from siwatsystem.runtime.trial_run import OverMemory, try_out


def main(arguments: list[str]) -> int:
    """`arguments`: weights (.pt), an empty folder for the model, megabytes of memory allowed (or 0),
    the kind of model (`openvino` or `tensorrt`), and the runtime's settings as JSON."""
    weights, folder, memory_mb = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    settings = RuntimeSettings(**json.loads(arguments[4]))
    confine(memory_mb)
    try:
        _export(weights, folder, arguments[3], settings)
    except ModelError as error:
        return say(folder, {"code": error.code, "message": error.message})
    except FileNotFoundError as error:
        return say(folder, {"code": "model_invalid", "message": str(error)})
    except (MemoryError, OverMemory):
        message = f"{weights.name}: it needs more than {settings.export_memory_mb} MB to be exported"
        return say(folder, {"code": "fatal", "message": message})
    return say(folder, {})


def _export(weights: Path, folder: Path, kind: str, settings: RuntimeSettings) -> None:
    """Export, and try what was made: whoever loads it need not start a process for that."""
    if kind == "tensorrt":
        from siwatsystem.runtime.engine_build import export_engine

        export_engine(weights, folder)
        if settings.trial:
            try_out("tensorrt", folder / ENGINE, settings, "fast", encoder=False)
        return
    export(weights, folder)
    if settings.trial:
        try_out("openvino", folder / "model.xml", settings, "exact", encoder=False)


def export(weights: Path, folder: Path) -> None:
    """Write model.xml, model.bin and metadata.json into `folder`. Raises ModelRefused, ModelInvalid."""
    silence(folder / "config")
    from siwatsystem.runtime.weights import load_checkpoint

    _, metadata = load_checkpoint(weights)
    from ultralytics import YOLO

    # The exporter writes beside the weights, under a name that it makes from theirs.
    own = folder / "source" / "weights.pt"
    own.parent.mkdir()
    shutil.copyfile(weights, own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = YOLO(str(own)).export(
            format="openvino",
            dynamic=True,
            imgsz=list(metadata.input_size),
            device="cpu",
            verbose=False,
        )
    xml = next(Path(made).glob("*.xml"))
    xml.rename(folder / "model.xml")
    xml.with_suffix(".bin").rename(folder / "model.bin")
    (folder / "metadata.json").write_text(metadata.to_json(), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
