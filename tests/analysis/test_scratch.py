import subprocess
import sys

import pytest

from siwatsystem.analysis.scratch import scratch

DIES = """
import os, sys
from pathlib import Path
from siwatsystem.analysis.scratch import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "best.pt").touch()
    os._exit(9)
"""


def folders(parent) -> list[str]:
    return sorted(path.name for path in parent.iterdir() if path.is_dir())


def test_it_is_there_as_long_as_it_is_used_also_when_that_fails(tmp_path):
    parent = tmp_path / "models" / ".run"
    with scratch(parent) as folder:
        assert list(folder.iterdir()) == []
        (folder / "best.pt").touch()
    assert folders(parent) == []
    with pytest.raises(ValueError, match="no"), scratch(parent):
        raise ValueError("no")
    assert folders(parent) == []


def test_what_a_dead_process_left_is_removed_what_others_use_is_not(tmp_path):
    died = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False, timeout=60)
    assert died.returncode == 9
    assert len(folders(tmp_path)) == 1
    # From before folders were held.
    (tmp_path / "0123456789abcdef").mkdir()
    with scratch(tmp_path) as one:
        (one / "a").touch()
        with scratch(tmp_path) as other:
            assert (one / "a").exists()
            assert folders(tmp_path) == sorted([one.parent.name, other.parent.name])
    assert folders(tmp_path) == []
