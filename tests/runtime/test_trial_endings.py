"""A whole worker that is ended in the midst of a trial, by SIGTERM or SIGKILL."""

import json
import os
import signal
import time
import zipfile
from pathlib import Path

import psutil
import pytest

from tests.faults.site import Site, site
from tests.nets import Nets
from tests.runtime import hostile
from tests.runtime.test_export_cache import gone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SHUTDOWN_SEC = 7.0


def archive(nets: Nets, folder: Path) -> Path:
    """An archive whose only network never answers."""
    network = hostile.endless(nets.path("classify-static.onnx"), folder / "endless.onnx")
    node = {"modelId": "endless", "modelFile": "endless.onnx", "triggerClasses": [], "minConfidence": 0.1}
    with zipfile.ZipFile(folder / "endless.mpta", "w") as packed:
        packed.writestr("endless/pipeline.json", json.dumps({"pipeline": node}))
        packed.write(network, "endless/endless.onnx")
    return folder / "endless.mpta"


def trial_of(here: Site) -> psutil.Process:
    """The process of the trial that is under way."""
    found: list[psutil.Process] = []

    def there() -> bool:
        children = here.process.children(recursive=True)
        found[:] = [child for child in children if "siwatsystem.runtime.trial_run" in child.cmdline()]
        return bool(found)

    here.until(there, "a trial", 120)
    return found[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_trial_outlives_the_worker(nets: Nets, tmp_path: Path, number: signal.Signals):
    packed = archive(nets, tmp_path)
    with site(tmp_path) as here:
        here.subscribe("one", "http://127.0.0.1:9/snapshot", snapshotInterval=500, modelUrl=packed.as_uri())
        child = trial_of(here)
        began = time.monotonic()
        os.kill(here.process.pid, number)
        status = here.worker.process.child.wait(60)
        took = time.monotonic() - began
        assert gone(child.pid)
    assert status == (0 if number == signal.SIGTERM else -number)
    # Timed figures may take three times as long on a busy machine.
    assert took <= 3 * SHUTDOWN_SEC
