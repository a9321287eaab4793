"""What tests of analysis apps share: an archive that is loaded in a second, and settings."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from tests.exports import share_exports
from tests.nets import Nets

TRACKED = {
    "modelId": "root",
    "modelFile": "detect-dynamic.onnx",
    "minConfidence": 0.25,
    "triggerClasses": ["Car", "Frontal", "Plate"],
    "tracking": {"method": "bytetrack"},
}


def quick_archive(nets: Nets, folder: Path, *, node: dict[str, Any] | None = None, **pipeline: Any) -> Path:
    """A folder with a small network that sees cars everywhere and follows them; no torch is needed for it."""
    folder.mkdir()
    shutil.copy(nets.path("detect-dynamic.onnx"), folder)
    spec = {**pipeline, "pipeline": {**TRACKED, **(node or {})}}
    (folder / "pipeline.json").write_text(json.dumps(spec))
    return folder


def quick_settings(data: Path, *, shared: bool = True) -> dict[str, str]:
    """As variables. One thread each: several run side by side. Not `shared`: its models were never tried."""
    return {
        "SIWAT_DATA_DIR": str(share_exports(data) if shared else data),
        "SIWAT_RUNTIME__DEVICE": "cpu",
        "SIWAT_RUNTIME__THREADS": "1",
    }


def quick_environment(data: Path, *, shared: bool = True) -> dict[str, str]:
    """Of a process that is started."""
    return os.environ | quick_settings(data, shared=shared) | {"APP_ID": "stream_test"}
