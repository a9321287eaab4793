"""A worker talks to its cameras, archives and databases, and to nobody else: watched at the system calls."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.archives import Shelf
from tests.acceptance.conftest import Station
from tests.acceptance.worker import WorkerProcess, worker
from tests.nets import Nets
from tests.security import watching

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(400), pytest.mark.slow]
REASON = watching.missing()
needs_watching = pytest.mark.skipif(bool(REASON), reason=REASON or "watched")

TALKATIVE = """
import ctypes, socket, subprocess, sys, threading
def native(port):
    libc = ctypes.CDLL(None)
    number = libc.socket(socket.AF_INET, socket.SOCK_DGRAM, 0)
    address = (2).to_bytes(2, "little") + port.to_bytes(2, "big") + socket.inet_aton("192.0.2.1") + bytes(8)
    libc.connect(number, address, 16)
if len(sys.argv) > 1:
    native(7003)
else:
    thread = threading.Thread(target=native, args=(7001,))
    thread.start()
    thread.join()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
        try:
            other.connect(("2001:db8::1", 7002))
        except OSError:
            pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        try:
            other.sendto(b"x", ("127.0.0.1", 53))
            other.sendto(b"x", ("127.0.0.1", 7004))
        except OSError:
            pass
    subprocess.run([sys.executable, sys.argv[0], "child"])
"""


@needs_watching
def test_the_watch_sees_native_code_threads_children_and_name_servers(tmp_path: Path):
    """Without this, a watch that sees nothing would find everybody silent."""
    script = tmp_path / "talkative.py"
    script.write_text(TALKATIVE)
    subprocess.run([watching.watched_python(tmp_path), script], check=True, timeout=60)
    found = set(watching.reached(tmp_path))
    assert found == {("192.0.2.1", 7001), ("2001:db8::1", 7002), ("192.0.2.1", 7003), ("127.0.0.1", 53)}
    assert watching.calls(tmp_path) == 5


def watched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have workers of this test run under the watch."""
    monkeypatch.setattr(sys, "executable", str(watching.watched_python(folder)))
    return folder


def analyse(running: WorkerProcess, camera: str, model: str, *, seen: bool) -> None:
    """Until the worker has told of something, or analysed some frames of a model that knows nothing."""
    with running.client() as client:
        client.subscribe("d;c", rtspUrl=camera, modelUrl=model)
        client.until_online("d;c", timeout=240)
        if seen:
            client.until_type("imageDetection", timeout=60)
        deadline = time.monotonic() + 60
        while running.json("/api/cameras")["cameras"][0]["analysed"] < 5:
            assert time.monotonic() < deadline, "nothing was analysed"
            time.sleep(0.2)


@needs_watching
@pytest.mark.parametrize("backend", ["openvino", pytest.param("torch", marks=pytest.mark.long)])
def test_a_worker_that_analyses_reaches_nobody_else(
    backend: str, tmp_path: Path, station: Station, archives: Shelf, monkeypatch: pytest.MonkeyPatch
):
    folder = watched(tmp_path, monkeypatch)
    with worker(tmp_path / "data", SIWAT_RUNTIME__BACKEND=backend) as running:
        analyse(running, station.camera(0), archives.url("demo.mpta"), seen=True)
    assert watching.calls(folder) > 1, "not even the camera was seen"
    assert watching.reached(folder) == []


@needs_watching
def test_onnx_runtime_reaches_nobody(
    tmp_path: Path, station: Station, nets: Nets, monkeypatch: pytest.MonkeyPatch
):
    model = nets.path("detect-static.onnx")
    assert model.is_file()
    folder = watched(tmp_path, monkeypatch)
    settings = {"SIWAT_RUNTIME__BACKEND": "onnx", "SIWAT_MODELS__ALLOW_FILE": "true"}
    with worker(tmp_path / "data", **settings) as running:
        analyse(running, station.camera(0), model.as_uri(), seen=False)
    assert watching.calls(folder) > 0
    assert watching.reached(folder) == []
