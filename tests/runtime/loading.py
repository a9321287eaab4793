"""A process that loads a model as the worker does: `python -m tests.runtime.loading WEIGHTS CACHE [PAUSE]`.

It says `ready`, begins on a line of input, says `exported` for each export it made, and at last, as
JSON, what the model sees on a grey picture. With PAUSE `installing` it stops for good, having said so,
where the first file of an export is written beside its place; with `tried`, where a trial is over and
its verdict not kept yet.
"""

import json
import logging
import os
import sys
import time
from pathlib import Path

import numpy as np

from siwatsystem.config import RuntimeSettings
from siwatsystem.runtime import auto, export_cache
from siwatsystem.runtime.backend import Picture
from siwatsystem.runtime.verdicts import Verdicts


def _pause(word: str) -> None:
    print(word, flush=True)
    time.sleep(600)


class _Told(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("exported "):
            print("exported", flush=True)


def main(weights: str, cache: str, pause: str = "") -> None:
    """Load and serve."""
    if pause == "installing":
        os.fsync = lambda _file: _pause(pause)
    if pause == "tried":
        Verdicts.keep_passed = lambda *_: _pause(pause)  # type: ignore[method-assign]
    logger = logging.getLogger(export_cache.__name__)
    logger.setLevel(logging.INFO)
    logger.addHandler(_Told())
    print("ready", flush=True)
    sys.stdin.readline()
    backend = auto.load(Path(weights), RuntimeSettings(device="cpu"), "exact", Path(cache))
    seen = backend.infer([Picture(np.full((96, 128, 3), 99, np.uint8))])
    print(json.dumps(repr(seen)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
