"""The process in which a model is loaded for the first time: `python -m siwatsystem.runtime.trial_run`.

It loads the file as the worker will and runs it once, on a blank picture of the usual size. A file
that crashes a runtime's native code, or fills the memory, or never ends, does so here.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from siwatsystem.config import RuntimeSettings
from siwatsystem.errors import ModelError
from siwatsystem.runtime.backend import Picture, Precision
from siwatsystem.runtime.confine import confine, say
from siwatsystem.runtime.encoder import NotAnEncoder
from siwatsystem.runtime.loaders import RuntimeName, open_encoder, open_model
from siwatsystem.runtime.silence import silence

USUAL_PICTURE = 1080, 1920
_FILE_MB = 256
"""Size of a file that it may write: it has nothing to leave but what libraries say, cache and share."""
_NO_MEMORY = ("bad_alloc", "allocate memory", "failed to allocate", "out of memory", "not enough memory")
"""What runtimes say, in whatever case, when there is no memory for them."""


class OverMemory(Exception):
    """A runtime said that there is no memory left."""


def main(arguments: list[str]) -> int:
    """`arguments`: an empty folder, megabytes of memory allowed (or 0), what `try_out` takes as JSON."""
    folder, memory_mb, given = Path(arguments[0]), int(arguments[1]), json.loads(arguments[2])
    # Somebody waits for this, as he would for the loading itself.
    confine(memory_mb, niceness=0, file_mb=_FILE_MB)
    silence(folder / "config")
    file, settings = Path(given["file"]), RuntimeSettings(**given["settings"])
    try:
        try_out(given["runtime"], file, settings, given["precision"], given["encoder"])
    except NotAnEncoder as error:
        return say(folder, {"code": "not_an_encoder", "message": error.message})
    except ModelError as error:
        return say(folder, {"code": error.code, "message": error.message})
    except FileNotFoundError as error:
        return say(folder, {"code": "model_invalid", "message": str(error)})
    except (MemoryError, OverMemory):
        message = f"{file.name}: loading or running it needs more memory than is allowed"
        return say(folder, {"code": "fatal", "message": message})
    return say(folder, {})


def try_out(
    runtime: RuntimeName, file: Path, settings: RuntimeSettings, precision: Precision, encoder: bool
) -> None:
    """Load `file` and run it once. An error of that one run is not the trial's business: it would end
    a call in the worker, not the worker. Raises ModelInvalid, ModelRefused, FileNotFoundError, OverMemory."""
    try:
        call = _loaded(runtime, file, settings, precision, encoder)
    except ModelError as error:
        _check_memory(error)
        raise
    try:
        call()
    except MemoryError:
        raise
    except Exception as error:
        # Runtimes' errors share no class.
        _check_memory(error)


def _loaded(
    runtime: RuntimeName, file: Path, settings: RuntimeSettings, precision: Precision, encoder: bool
) -> Any:
    """A call of the loaded model."""
    if encoder:
        opened = open_encoder(runtime, file, settings, precision)
        return lambda: opened.features(np.zeros((1, *opened.input.size, 3), np.uint8))
    backend = open_model(runtime, file, settings, precision)
    return lambda: backend.infer([Picture(np.zeros((*USUAL_PICTURE, 3), np.uint8))])


def _check_memory(error: Exception) -> None:
    text = str(error).lower()
    if any(words in text for words in _NO_MEMORY):
        raise OverMemory from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
