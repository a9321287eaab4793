"""The cameras of this machine: which indexes open, with what size and rate, and how the system calls them."""

import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INDEXES = range(10)
_LOOK_SEC = 15.0
"""For one index; some drivers wait for a picture for ten seconds."""
_ASK_SEC = 20.0
_VIDEO4LINUX = Path("/sys/class/video4linux")
# Each in a process of its own: a driver that hangs or crashes must not take the list with it.
_LOOK = """
import json, os, sys
os.environ["OPENCV_LOG_LEVEL"] = "OFF"
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "3")
import cv2
camera = cv2.VideoCapture(int(sys.argv[1]))
if camera.isOpened():
    done, picture = camera.read()
    size = picture.shape[1::-1] if done else (camera.get(3), camera.get(4))
    print(json.dumps({"width": int(size[0]), "height": int(size[1]), "fps": camera.get(5) or None,
                      "backend": camera.getBackendName(), "delivers": bool(done)}))
camera.release()
"""


@dataclass(frozen=True, slots=True)
class Device:
    """A camera that opened."""

    index: int
    name: str | None
    """What the system calls it; None where it does not say."""
    width: int
    height: int
    fps: float | None
    backend: str
    delivers: bool
    """Whether a picture came."""


def devices(indexes: range = INDEXES) -> list[Device]:
    """All that open, in the order of their indexes."""
    names = device_names()
    found: list[Device] = []
    for index in indexes:
        facts = _look_at(index)
        if facts is not None:
            found.append(Device(index=index, name=names.get(index), **facts))
    return found


def device_names() -> dict[int, str]:
    """The system's names of its cameras. By index on Linux; elsewhere in the order in which the system
    tells them, which mostly is that of the indexes."""
    match platform.system():
        case "Linux":
            return _linux_names(_VIDEO4LINUX)
        case "Darwin":
            told = _asked(["system_profiler", "-json", "SPCameraDataType"])
            return dict(enumerate(_names(told, "SPCameraDataType", "_name")))
        case "Windows":
            command = "Get-CimInstance Win32_PnPEntity -Filter \"PNPClass='Camera' OR PNPClass='Image'\""
            told = _asked(
                [
                    "powershell",
                    "-NoProfile",
                    "-Command",
                    f"@{{all=@({command} | select Name)}} | ConvertTo-Json -Depth 3",
                ]
            )
            return dict(enumerate(_names(told, "all", "Name")))
        case _:
            return {}


def _linux_names(folder: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for device in folder.glob("video*"):
        number = device.name.removeprefix("video")
        name = device / "name"
        if number.isdecimal() and name.is_file():
            names[int(number)] = name.read_text(errors="replace").strip()
    return names


def _names(told: Any, group: str, key: str) -> list[str]:
    """Out of `{group: [{key: name}, …]}`; none where it is anything else."""
    entries = told.get(group) if isinstance(told, dict) else None  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(entries, list):
        return []
    return [str(entry[key]) for entry in entries if isinstance(entry, dict) and key in entry]  # pyright: ignore


def _asked(command: list[str]) -> Any:
    """What a program of the system answers, as JSON; None where it is not there or answers something else."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=_ASK_SEC, check=False)  # noqa: S603 - constants
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _look_at(index: int) -> dict[str, Any] | None:
    if platform.system() == "Linux" and not Path(f"/dev/video{index}").exists():
        return None
    command = [sys.executable, "-c", _LOOK, str(index)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_LOOK_SEC, check=False)  # noqa: S603 - a number
        facts: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError):
        return None
    return facts
