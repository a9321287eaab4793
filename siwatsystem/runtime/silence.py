"""Keeps the inference libraries quiet: no report home, no download, no installation, nothing under home; and
away from instructions that are announced and do not work."""

import os
import sys
import tempfile
from pathlib import Path

from siwatsystem.runtime.processor import has_broken_amx

_FIXED = {
    "ULTRALYTICS_SAFE_LOAD": "true",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_OFFLINE": "true",
    "YOLO_VERBOSE": "false",
    "ORT_DISABLE_TELEMETRY": "1",
}


def silence(config_dir: Path | None = None) -> None:
    """Set what the libraries read when they are imported; call it before importing any of them.

    `config_dir` is where ultralytics and matplotlib may keep their settings, a private temporary
    folder by default. Calling it again changes nothing.
    """
    os.environ.update(_FIXED)
    if has_broken_amx():
        os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")
    # OpenVINO sends an event when it is imported and writes an id under the home folder; it falls
    # back to a stub where this package cannot be imported, and offers no other switch.
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
    for variable in ("YOLO_CONFIG_DIR", "MPLCONFIGDIR"):
        if variable not in os.environ:
            config_dir = config_dir or _private_dir()
            config_dir.mkdir(parents=True, exist_ok=True)
            os.environ[variable] = str(config_dir)


def _private_dir() -> Path:
    path = Path(tempfile.gettempdir()) / f"siwatsystem-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        owned = path.stat().st_uid == os.getuid() and not path.is_symlink()
    except OSError:
        owned = False
    return path if owned else Path(tempfile.mkdtemp(prefix="siwatsystem-"))
