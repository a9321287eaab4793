"""What goes wrong outside: each is told with its code, and everything else goes on."""

import json
import pickle
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.client import Refused
from tests.acceptance.archives import DEMO, Shelf, repack
from tests.acceptance.backend import Backend
from tests.acceptance.conftest import Station
from tests.acceptance.listening import Message, state_of
from tests.acceptance.worker import WorkerProcess, worker

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(300)]
WELL = "display-1;well"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    with worker(tmp_path_factory.mktemp("worker"), SIWAT_MAX_STREAMS="3") as process:
        yield process


@pytest.fixture(scope="module")
def well(running: WorkerProcess, station: Station, archives: Shelf) -> Iterator[Backend]:
    """A display that works, and must go on working."""
    with running.backend() as backend:
        backend.subscribe(WELL, rtsp_url=station.camera(0), model_url=archives.url("demo.mpta"))
        backend.until_type("imageDetection", timeout=120)
        yield backend


def still_well(backend: Backend) -> None:
    backend.collect(0.2)
    backend.until_type("imageDetection", timeout=120)
    assert [message for message in backend.received if message["type"] == "error"] == []


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def zipped(*entries: tuple[str, bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in entries:
                archive.writestr(name, data)

    return write


def changed(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        repack(path, change)

    return write


def demo_json() -> bytes:
    with zipfile.ZipFile(DEMO) as archive:
        return archive.read("pipeline.json")


ARCHIVES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "no-zip": (lambda path: path.write_bytes(b"hello") and None, "model_invalid", "zip"),
    "no-pipeline": (zipped(("readme.txt", b"x")), "model_invalid", "pipeline.json"),
    "no-json": (zipped(("pipeline.json", b"{")), "model_invalid", "JSON"),
    "no-file": (zipped(("pipeline.json", demo_json())), "model_invalid", "car_frontal_detection.pt"),
    "typo": (
        changed(lambda data: data["pipeline"].update(minConfidence="high")),
        "model_invalid",
        "pipeline.minConfidence",
    ),
    "placeholder": (
        changed(lambda data: data["pipeline"]["actions"][0].update(key="{nobody.knows}")),
        "model_invalid",
        "nobody.knows",
    ),
    "climbs": (zipped(("../evil", b"x"), ("pipeline.json", demo_json())), "model_refused", "../evil"),
    "bomb": (
        zipped(("pipeline.json", demo_json()), ("car_frontal_detection.pt", bytes(200_000_000))),
        "model_refused",
        "times its size",
    ),
}


@pytest.fixture(scope="module")
def refusals(
    running: WorkerProcess, well: Backend, station: Station, archives: Shelf
) -> dict[str, list[Message]]:
    """The errors that each of them brings within some seconds; all of them are asked for at once."""
    found: dict[str, list[Message]] = {name: [] for name in ARCHIVES}

    def note(message: Message) -> bool:
        if message["type"] == "error":
            found[message["subscriptionIdentifier"].removeprefix("display-2;")].append(message)
        return all(found.values())

    with running.backend() as backend:
        for name, (write, _, _) in ARCHIVES.items():
            write(archives.folder / f"{name}.mpta")
            address = archives.url(f"{name}.mpta")
            camera = station.camera(0)
            backend.subscribe(f"display-2;{name}", rtsp_url=camera, model_url=address, model_id=name)
        for message in backend.received:
            note(message)
        if not all(found.values()):
            backend.until(note, "an error of each archive")
        state = backend.until_type("stateReport")
        problems = json.dumps(running.json("/health")["problems"])
        for message in backend.collect(3):
            note(message)
        for name in ARCHIVES:
            assert (state_of(state, f"display-2;{name}") or {})["online"] is False
            assert name in problems
            backend.unsubscribe(f"display-2;{name}")
    return found


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_bad_archive_is_told_once_and_costs_nobody_else(
    name: str, refusals: dict[str, list[Message]], well: Backend
):
    _, code, part = ARCHIVES[name]
    (error,) = refusals[name]
    assert error["code"] == code
    assert part in error["error"]
    still_well(well)


def test_weights_that_would_run_code_are_refused_and_do_not(
    running: WorkerProcess, well: Backend, station: Station, archives: Shelf, tmp_path: Path
):
    proof = tmp_path / "it-ran"
    with zipfile.ZipFile(archives.folder / "pickle.mpta", "w") as archive:
        archive.writestr("pipeline.json", demo_json())
        for node in ("car_frontal_detection", "car_brand_classification", "car_bodytype_classification"):
            archive.writestr(f"{node}.pt", pickle.dumps({"model": Evil(proof)}))
    with running.backend() as backend:
        backend.subscribe(
            "display-3;x", rtsp_url=station.camera(0), model_url=archives.url("pickle.mpta"), model_id=9
        )
        assert backend.until_error("model_refused", timeout=120)["subscriptionIdentifier"] == "display-3;x"
        backend.unsubscribe("display-3;x")
    assert not proof.exists()
    still_well(well)


@pytest.fixture
def garbage() -> Iterator[int]:
    """A server that answers everything with noise."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()
    listener.settimeout(0.2)

    def serve() -> None:
        while not stopped.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(2)
                try:
                    connection.recv(1000)
                    connection.sendall(bytes(range(256)) * 40)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, name="garbage")
    thread.start()
    yield listener.getsockname()[1]
    stopped.set()
    thread.join()
    listener.close()


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("rtsp://127.0.0.1:1/none", "stream_unreachable"),
        ("{rtsp}/no-such-mount", "stream_unreachable"),
        ("rtsp://127.0.0.1:{garbage}/x", "stream_unreachable"),
        ("http://127.0.0.1:{garbage}/x.mjpg", "stream_unreachable"),
        ("ftp://127.0.0.1/x", "stream_refused"),
        ("rtsp://169.254.169.254/latest", "stream_refused"),
        ("file:///etc/passwd", "stream_refused"),
        ("not an address", "stream_refused"),
    ],
)
def test_a_bad_camera_is_told_and_costs_nobody_else(
    url: str,
    code: str,
    running: WorkerProcess,
    well: Backend,
    station: Station,
    archives: Shelf,
    garbage: int,
):
    address = url.format(rtsp=station.rtsp_url, garbage=garbage)
    with running.backend() as backend:
        backend.subscribe("display-4;x", rtsp_url=address, model_url=archives.url("demo.mpta"))
        error = backend.until_error(code)
        assert error["subscriptionIdentifier"] == "display-4;x"
        backend.unsubscribe("display-4;x")
    still_well(well)


def test_a_crop_outside_the_picture_is_told(
    running: WorkerProcess, well: Backend, station: Station, archives: Shelf
):
    with running.backend() as backend:
        backend.subscribe(
            "display-7;x",
            rtsp_url=station.camera(0),
            model_url=archives.url("demo.mpta"),
            crop=(5000, 5000, 6000, 6000),
        )
        error = backend.until_error("pipeline_failed")
        assert "1280×720" in error["error"]
        backend.unsubscribe("display-7;x")
    assert 'subscription="display-7;x"' not in running.get("/metrics")[1].decode()
    still_well(well)


def test_more_cameras_than_allowed_are_refused(
    running: WorkerProcess, well: Backend, station: Station, archives: Shelf
):
    with running.backend() as backend:

        def subscribe(number: int) -> None:
            address = f"rtsp://127.0.0.1:1/{number}"
            name = f"display-5;{number}"
            backend.subscribe(name, rtsp_url=address, model_url=archives.url("demo.mpta"))

        subscribe(0)
        subscribe(1)
        with pytest.raises(Refused, match="max_streams_reached") as refused:
            subscribe(2)
        assert refused.value.error.subscription_identifier == "display-5;2"
        for number in range(2):
            backend.unsubscribe(f"display-5;{number}")
    still_well(well)


def test_a_client_that_leaves_in_the_middle_is_no_trouble(running: WorkerProcess, well: Backend):
    for text in (b"", b"GET / HTTP/1.1\r\n", b"\x00" * 100):
        with socket.create_connection(("127.0.0.1", running.port)) as raw:
            raw.sendall(text)
    for _ in range(20):
        with running.client() as client:
            client.send("{")
    still_well(well)


def test_no_password_reaches_log_or_error(running: WorkerProcess, well: Backend, archives: Shelf):
    with running.backend() as backend:
        backend.subscribe(
            "display-6;x",
            rtsp_url="rtsp://admin:hunt/er@2@127.0.0.1:1/x",
            model_url=archives.url("demo.mpta") + "?signature=geheim",
        )
        error = backend.until_error("stream_unreachable")
        assert "hunt" not in error["error"]
        assert "hunt" not in json.dumps(running.json("/health")) + json.dumps(running.json("/api/cameras"))
        shown = json.dumps(running.json("/dashboard/state"))
        shown += json.dumps(running.json("/dashboard/camera/display-6%3Bx"))
        assert "rtsp://***@127.0.0.1:1/x" in shown
        assert "hunt" not in shown
        assert "geheim" not in json.dumps(running.json("/health")) + shown
    log = running.process.log.read_text()
    assert "hunt" not in log
    assert "geheim" not in log
    assert "Traceback" not in log
