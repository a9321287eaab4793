"""The limit of open files, in a process of its own: one that was lowered cannot always be raised again."""

import subprocess
import sys

import pytest

SCRIPT = """
import logging, resource, sys
from siwatsystem import descriptors
from siwatsystem.config import Settings
logging.basicConfig(stream=sys.stdout, format="%(message)s")
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
descriptors.allow(Settings(max_streams=100))
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""
NEEDED = 4 * 100 + 256 + 1536


@pytest.mark.parametrize(
    ("soft", "hard", "after", "warned"),
    [
        (256, 4096, (NEEDED, 4096), False),
        (4000, 4096, (4000, 4096), False),
        (256, 512, (512, 512), True),
    ],
)
def test_as_many_files_may_be_open_as_the_settings_need(
    soft: int, hard: int, after: tuple[int, int], warned: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(soft), str(hard)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == str(after), done.stderr
    assert ("only 512 files" in done.stdout) is warned
