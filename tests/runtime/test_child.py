"""The process that opens what others made, where it does not end or says too much."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from siwatsystem.runtime import child

CHATTY = """
import json
import sys
from siwatsystem.runtime import trial_run

def chatter(*_):
    try:
        for _ in range(64):
            print("x" * 65536, flush=True)
    except OSError:
        pass

trial_run._FILE_MB, trial_run.try_out = 1, chatter
given = {"runtime": "onnx", "file": "a.onnx", "settings": {}, "precision": "exact", "encoder": False}
trial_run.main([sys.argv[1], "0", json.dumps(given)])
"""


class Unkillable(subprocess.Popen[bytes]):
    """Hangs in the kernel, as far as whoever waits can tell."""

    def wait(self, timeout: float | None = None) -> int:
        assert timeout is not None, "it would be waited for, for ever"
        raise subprocess.TimeoutExpired(self.args, timeout)


def test_a_process_that_does_not_end_is_left_behind(caplog: pytest.LogCaptureFixture):
    process = Unkillable([sys.executable, "-c", ""], start_new_session=True)
    began = time.monotonic()
    child._end(process)
    assert time.monotonic() - began < 30
    assert "is left behind" in caplog.text
    subprocess.Popen.wait(process, 30)


def test_a_trial_cannot_fill_the_disk_with_what_it_says(tmp_path: Path):
    log = tmp_path / "output.log"
    with log.open("wb") as output:
        command = [sys.executable, "-c", CHATTY, str(tmp_path)]
        subprocess.run(command, stdout=output, timeout=60, check=False)
    assert log.stat().st_size == 1024 * 1024
