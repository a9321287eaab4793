"""Several workers on one folder of exports and verdicts, one of which may be killed at any moment."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from siwatsystem.runtime.trial import Trial, verdicts
from tests.nets import ROOT, Nets
from tests.runtime import hostile
from tests.runtime.test_export_cache import SETTINGS, exports, gone

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


class Loading:
    """A process that loads `weights`; see `tests.runtime.loading`."""

    def __init__(self, weights: Path, cache: Path, pause: str = "") -> None:
        command = [sys.executable, "-m", "tests.runtime.loading", str(weights), str(cache), pause]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def served(self) -> tuple[int, str]:
        """How many exports it made, and what its model saw."""
        output, said = self.process.communicate(timeout=180)
        assert self.process.returncode == 0, said[-2000:]
        *lines, seen = output.split("\n")[:-1]
        return lines.count("exported"), json.loads(seen)

    def children(self) -> list[int]:
        """The processes it started, by id."""
        listed = Path(f"/proc/{self.process.pid}/task")
        found = [path.read_text() for path in listed.glob("*/children")]
        return [int(pid) for text in found for pid in text.split()]

    def child(self) -> int:
        """The process it started, waited for."""
        end = time.monotonic() + 120
        while not (found := self.children()):
            assert time.monotonic() < end
            time.sleep(0.02)
        return found[0]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)


@pytest.fixture
def loading() -> Iterator[list[Loading]]:
    """Those that are started; none outlives the test."""
    started: list[Loading] = []
    yield started
    for one in started:
        one.kill()


def check_folder(cache: Path) -> None:
    """One whole export, known to have passed, and nothing half made but what was left by the killed."""
    kept = [path for path in exports(cache) if not path.name.startswith(".fresh-")]
    assert len(kept) == 1
    assert sorted(path.name for path in kept[0].iterdir()) == ["metadata.json", "model.bin", "model.xml"]
    key = Trial("openvino", kept[0] / "model.xml", SETTINGS, "exact").key()
    assert verdicts(cache).passed(key)
    assert [path.suffix for path in (cache / ".trials").iterdir()] == [".json"]


def test_two_that_load_the_same_at_once_cause_one_export(nets: Nets, tmp_path: Path, loading: list[Loading]):
    for _ in range(2):
        loading.append(Loading(nets.path("classify.pt"), tmp_path))
    for one in loading:
        one.begin()
    (made, seen), (more, same) = (one.served() for one in loading)
    assert seen == same
    assert made + more == 1
    assert not list(tmp_path.glob(".fresh-*"))
    check_folder(tmp_path)


@pytest.mark.parametrize("moment", ["exporting", "installing", "tried"])
def test_one_that_is_killed_leaves_its_work_to_the_other(
    nets: Nets, tmp_path: Path, loading: list[Loading], moment: str
):
    killed = Loading(nets.path("classify.pt"), tmp_path, moment)
    loading.append(killed)
    other = Loading(nets.path("classify.pt"), tmp_path)
    loading.append(other)
    killed.begin()
    if moment == "exporting":
        killed.child()
    else:
        assert killed.line() == moment
    started = killed.children()
    other.begin()
    os.kill(killed.process.pid, signal.SIGKILL)
    # What was installed whole before the end is not made again.
    assert other.served()[0] == (0 if moment == "tried" else 1)
    assert all(gone(pid) for pid in started)
    check_folder(tmp_path)


def test_two_that_find_the_same_export_damaged_both_serve(nets: Nets, tmp_path: Path, loading: list[Loading]):
    first = Loading(nets.path("classify.pt"), tmp_path)
    loading.append(first)
    first.begin()
    _, seen = first.served()
    (weights,) = tmp_path.glob("*/model.bin")
    weights.write_bytes(weights.read_bytes()[:1000])
    both = [Loading(nets.path("classify.pt"), tmp_path) for _ in range(2)]
    loading += both
    for one in both:
        one.begin()
    assert [one.served()[1] for one in both] == [seen, seen]
    check_folder(tmp_path)


@pytest.mark.parametrize("moment", ["starting", "running"])
def test_a_trial_ends_with_the_process_that_started_it(
    nets: Nets, tmp_path: Path, loading: list[Loading], moment: str
):
    path = hostile.endless(nets.path("classify-static.onnx"), tmp_path / "endless.onnx")
    killed = Loading(path, tmp_path / "cache")
    loading.append(killed)
    killed.begin()
    child = killed.child()
    while moment == "running" and "onnxruntime" not in Path(f"/proc/{child}/maps").read_text():
        time.sleep(0.05)
    killed.kill()
    assert gone(child)
