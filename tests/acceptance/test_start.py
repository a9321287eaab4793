"""Starting and not starting: one clear line, and a status that says so."""

import subprocess
import sys
from pathlib import Path

import pytest

from demo.processes import free_port
from tests.acceptance.archives import Shelf
from tests.acceptance.conftest import Station
from tests.acceptance.worker import ROOT, worker

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(120)]


def start(folder: Path, *command: str, **env: str) -> tuple[int, list[str]]:
    """Exit status, and what was printed besides the log."""
    settings = {"SIWAT_DATA_DIR": str(folder), "SIWAT_PORT": str(free_port()), **env}
    done = subprocess.run(
        [sys.executable, *(command or (str(ROOT / "app.py"),))],
        env={"PATH": "/usr/bin:/bin", "SIWAT_CONFIG": str(ROOT / "config.json"), **settings},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, [line for line in done.stderr.splitlines() if line.startswith("siwat: ")]


@pytest.mark.parametrize("command", [(), ("-m", "siwatsystem", "serve"), ("-m", "uvicorn", "app:app")])
def test_a_bad_setting_is_one_line(tmp_path: Path, command: tuple[str, ...]):
    status, lines = start(tmp_path, *command, SIWAT_TARGET_FPS="fast")
    assert status != 0
    assert len(lines) == 1
    assert "target_fps = 'fast' (from SIWAT_TARGET_FPS)" in lines[0]


def test_what_is_taken_or_cannot_be_written_is_one_line(tmp_path: Path):
    with worker(tmp_path / "first") as running:
        status, lines = start(tmp_path / "second", SIWAT_PORT=str(running.port))
        assert (status, len(lines)) == (2, 1)
        assert f"{running.port}: Address already in use" in lines[0]
        status, lines = start(tmp_path / "first")
        assert (status, len(lines)) == (2, 1)
        assert "outbox" in lines[0]
    (tmp_path / "file").touch()
    status, lines = start(tmp_path / "file" / "below")
    assert (status, len(lines)) == (2, 1)
    assert "data_dir" in lines[0]
    (tmp_path / "third" / "outbox.sqlite").mkdir(parents=True)
    status, lines = start(tmp_path / "third")
    assert (status, len(lines)) == (2, 1)
    assert "unable to open database file" in lines[0]


def test_importing_the_application_loads_nothing_heavy():
    code = (
        "import sys, app; heavy = {'torch', 'cv2', 'av', 'openvino', 'onnxruntime', 'ultralytics',"
        " 'psycopg2', 'redis', 'requests', 'matplotlib'}; print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.timeout(300)
def test_a_worker_on_exported_models_never_loads_torch(tmp_path: Path, station: Station, archives: Shelf):
    """What its process has mapped says so, also of what a library would load by itself."""
    with worker(tmp_path, SIWAT_RUNTIME__DEVICE="cpu") as running, running.backend() as backend:
        backend.subscribe("gate;east", rtsp_url=station.camera(), model_url=archives.url("demo.mpta"))
        backend.until_type("imageDetection", timeout=240)
        mapped = Path(f"/proc/{running.process.child.pid}/maps").read_text()
    assert "libopenvino" in mapped
    assert "libtorch" not in mapped
