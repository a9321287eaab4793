"""A model that hangs in native code: it is loaded anew, and told where that does not help."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.backend import Backend
from tests.acceptance.listening import Message
from tests.acceptance.worker import WorkerProcess, worker
from tests.faults import hung_model

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(300)]
NAME = "display-1;lamp"
RESTARTS = 2
SETTINGS = {
    "SIWAT_MODELS__ALLOW_FILE": "true",
    "SIWAT_TARGET_FPS": "5",
    "SIWAT_SUPERVISION__MODEL_STUCK_SEC": "1",
    "SIWAT_SUPERVISION__RESTARTS": str(RESTARTS),
    "SIWAT_SUPERVISION__WINDOW_SEC": "30",
}


def restarts(running: WorkerProcess, kind: str) -> int:
    parts = running.json("/health")["restarts"]
    return max((part["restarts"] for part in parts if part["kind"] == kind), default=0)


def until(backend: Backend, condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        backend.collect(0.3)


def error(text: str, resolved: bool) -> Callable[[Message], bool]:
    def wanted(message: Message) -> bool:
        told = message["type"] == "error" and text in message["error"]
        return told and message.get("resolved", False) is resolved

    return wanted


def test_a_model_that_hangs_is_replaced_and_told_when_that_does_not_help(tmp_path: Path) -> None:
    with hung_model.lamp() as camera, worker(tmp_path, **SETTINGS) as running, running.backend() as backend:
        address = hung_model.archive(tmp_path / "hangs.mpta").as_uri()
        backend.subscribe(NAME, snapshot_url=camera.url, snapshot_interval=200, model_url=address)
        backend.until_online(NAME)
        backend.until_type("imageDetection")

        camera.on = True
        until(backend, lambda: restarts(running, "model"), "the model is loaded anew")
        camera.on = False
        backend.until(error("a frame was given up", resolved=False), "that a frame was given up")
        backend.until(error("frames are analysed again", resolved=True), "that frames are analysed again")
        backend.until_type("imageDetection")
        assert running.json("/health")["status"] == "ok"

        camera.on = True
        backend.until(error("has failed", resolved=False), "that a part has failed", timeout=120)
        report = backend.until(lambda message: bool(message.get("failed")), "a report of it")
        assert report["failed"] == ["model hangs"]
        health = running.json("/health")
        assert health["status"] == "degraded"
        assert [part["state"] for part in health["restarts"] if part["kind"] == "model"] == ["failed"]
        assert any("model hangs has failed" in problem for problem in health["problems"])
        assert running.metric("siwat_failed_parts") >= 1
        assert running.metric("siwat_restarts_total") >= RESTARTS

        backend.until_online(NAME, False)

        # Once restarts are to be had again it is tried again, and a dark picture does not hang.
        camera.on = False
        backend.until(
            error("over: model hangs has failed", resolved=True), "that it works again", timeout=120
        )
        backend.until_type("imageDetection", timeout=120)
        backend.until_online(NAME)
