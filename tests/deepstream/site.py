"""The control server as a test client's app; its launcher starts nothing, the test plays the apps."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from starlette.testclient import TestClient, WebSocketTestSession

from siwatsystem.config import Settings
from siwatsystem.deepstream import service
from siwatsystem.deepstream.admission import Refused
from siwatsystem.deepstream.app_logs import Page
from siwatsystem.deepstream.application import create_app
from siwatsystem.deepstream.apps import App, Spec
from siwatsystem.deepstream.effects import LaunchApp, Signal
from siwatsystem.deepstream.events import Event, Exited, Launched, LaunchFailed
from siwatsystem.deepstream.limits import Limits


@dataclass
class FakeLauncher:
    """Processes that are only numbers. A config named `…gone` cannot be launched."""

    tell: Callable[[Event], None]
    launched: list[LaunchApp] = field(default_factory=list[LaunchApp])
    signals: list[Signal] = field(default_factory=list[Signal])
    adopted: list[str] = field(default_factory=list[str])
    forgotten: list[str] = field(default_factory=list[str])
    problem: str | None = None

    def refused(self, spec: Spec) -> Refused | None:
        if spec.docker_container is not None:
            return Refused(403, "containers are not allowed: the setting control.docker is off")
        return Refused(404, f"{spec.config_path} is not there") if "missing" in spec.config_path else None

    def launch(self, effect: LaunchApp) -> None:
        self.launched.append(effect)
        if effect.spec.config_path.endswith("gone"):
            self.tell(LaunchFailed(effect.instance_id, effect.run, "no such program"))
        else:
            self.tell(Launched(effect.instance_id, effect.run, 4711, log_path="logs/x.log", command="app"))

    def signal(self, effect: Signal) -> None:
        self.signals.append(effect)
        self.tell(Exited(effect.instance_id, effect.run, -9))

    def adopt(self, apps: Sequence[App]) -> None:
        self.adopted = [app.instance_id for app in apps]

    def logs(self, process_id: str, lines: int = 100, skip: int = 0) -> Page:
        return Page(("loaded", "ready")[-lines:], more=False)

    def forget(self, instance_id: str) -> None:
        self.forgotten.append(instance_id)

    def close(self) -> None:
        pass


@dataclass
class Site:
    http: TestClient
    launcher: FakeLauncher

    def get(self, path: str, **query: Any) -> Any:
        return self.http.get(f"/deepstream{path}", params=query)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        return self.http.post(f"/deepstream{path}", json=body, params=query)

    def launch(self, instance_id: str = "one", streams: int = 2) -> None:
        body = {"instance_id": instance_id, "config_path": "/configs/a.txt", "streams_count": streams}
        assert self.post("/launch", body).status_code == 200

    @contextlib.contextmanager
    def app(self, instance_id: str = "one", streams: int = 2, **more: Any) -> Iterator["Talk"]:
        """A connected app, played by the test."""
        # The client cancels what the server still does about a connection that it has ended.
        ended = contextlib.suppress(CancelledError)
        with ended, self.http.websocket_connect("/deepstream/ws") as socket:
            talk = Talk(socket)
            talk.say(
                "app_ready",
                instance_id=instance_id,
                config_path="/configs/a.txt",
                process_id=1,
                streams_count=streams,
                status="ready",
                version="1",
                start_time="2026-11-21T08:00:00Z",
                **more,
            )
            yield talk


@dataclass
class Talk:
    socket: WebSocketTestSession

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send_json({"type": kind, **fields})

    def hear(self, kind: str) -> dict[str, Any]:
        """The next message, which is of this kind."""
        message: dict[str, Any] = self.socket.receive_json()
        assert message["type"] == kind, message
        return message

    def accept(self) -> tuple[dict[str, Any], list[int]]:
        """Take a camera with its files: what all that is said of it repeats, and the files' ids."""
        start = self.hear("start_analysis")
        about = {key: start[key] for key in ("stream_id", "camera_id", "request_id")}
        self.say("analysis_started", **about, status="ok")
        push = self.hear("push_file")
        self.say("push_ack", **{**about, "request_id": push["request_id"]}, status="ok")
        return about, [file["file_id"] for file in push["files"] if file["file_type"] == "file"]

    def do(self, about: dict[str, Any], file_id: int, **more: Any) -> None:
        self.say("processing_started", **about, file_id=file_id, current_file="x")
        self.say("file_done", **about, file_id=file_id, processed_file=f"/r/{file_id}", **more)


@contextlib.contextmanager
def site(
    folder: Path,
    limits: Limits | None = None,
    settings: dict[str, Any] | None = None,
    metrics_sec: float = 3600,
) -> Iterator[Site]:
    """With its state in `folder`. Apps are asked for metrics rarely: tests count what is said."""
    launchers: list[FakeLauncher] = []

    def make(_: Settings, tell: Callable[[Event], None]) -> FakeLauncher:
        launchers.append(FakeLauncher(tell))
        return launchers[-1]

    chosen = Settings.model_validate({"data_dir": folder, **(settings or {})})
    brief = limits or Limits(stop_sec=0.2, term_sec=0.2, kill_sec=0.2, backoff_sec=0.05)
    app = create_app(chosen, make, brief)
    asked = mock.patch.object(service, "METRICS_SEC", metrics_sec)
    with asked, TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as http:
        yield Site(http, launchers[0])
