"""The process that turns weights into an exported model: `python -m siwatsystem.runtime.export`.

It runs alone, with a memory limit, no network and nothing of the worker's environment, because
weights come from others and an exporter may take any amount of time and memory. What it has to say
is in `result.json` of its folder.
"""

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

from siwatsystem.errors import ModelError
from siwatsystem.runtime.silence import silence

RESULT = "result.json"
UNLIMITED = 0
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_NETWORK_EVENTS = {"socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname"}


def main(arguments: list[str]) -> int:
    """`arguments`: weights (.pt), an empty folder for the model, megabytes of memory allowed (or 0),
    and the kind of model: `openvino` or `tensorrt`."""
    weights, folder, memory_mb = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    confine(memory_mb)
    try:
        if arguments[3] == "tensorrt":
            from siwatsystem.runtime.engine_build import export_engine

            export_engine(weights, folder)
        else:
            export(weights, folder)
    except ModelError as error:
        return _say(folder, {"code": error.code, "message": error.message})
    except FileNotFoundError as error:
        return _say(folder, {"code": "model_invalid", "message": str(error)})
    except MemoryError:
        return _say(folder, {"code": "model_invalid", "message": f"it needs more than {memory_mb} MB"})
    return _say(folder, {})


def confine(memory_mb: int) -> None:
    """Give this process its limits: memory, no core files, no network, gone with its parent.

    With `UNLIMITED` whoever started it has to watch its memory.
    """
    if memory_mb != UNLIMITED:
        limit = memory_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(10)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # A network namespace of its own needs a privilege that a container often lacks; the hook
    # below then still stops whatever goes through Python.
    libc.unshare(_CLONE_NEWNET)
    sys.addaudithook(_refuse_network)


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _NETWORK_EVENTS:
        raise PermissionError(f"{event}: an export has no network")


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


def _say(folder: Path, result: dict[str, str]) -> int:
    with contextlib.suppress(OSError):
        (folder / RESULT).write_text(json.dumps(result), encoding="utf-8")
    return 1 if result else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
