"""A control server that says what a test tells it to, over real sockets; and real apps that talk to it."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from tests.cameras import ROOT
from tests.exports import share_exports

DEMO = ROOT / "demo" / "demo.mpta"
CLIPS = ROOT / "demo" / "clips"
INSTANCE = "stream_test"
SLOW = 150.0


class ScriptedServer:
    """Answers `app_ready` as `status` says, keeps everything else in `said`."""

    def __init__(self, port: int = 0) -> None:
        self.said: list[dict[str, Any]] = []
        self.status = "ok"
        self.problem = {"error_code": "CONFIG_MISMATCH", "error_message": "another config"}
        """What is said with another `status`."""
        self.refusals: list[int] = []
        """Close codes that the next connections get at once."""
        self.port = port
        self._socket: ServerConnection | None = None
        self._changed = threading.Condition()
        self._server: Server | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/deepstream/ws"

    def start(self) -> None:
        self._server = serve(self._serve, "127.0.0.1", self.port, compression=None)
        self.port = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self, code: int = 1001) -> None:
        """Go away, with the connection that there is."""
        socket, self._socket = self._socket, None
        if socket is not None:
            with suppress(ConnectionClosed):
                socket.close(code)
        assert self._server is not None
        self._server.shutdown()

    def send(self, kind: str, **fields: Any) -> None:
        assert self._socket is not None
        self._socket.send(json.dumps({"type": kind, **fields}))

    def begin(self, camera: int = 3, slot: int = 0, run: str = "run:r1#1", **fields: Any) -> None:
        head = {"request_id": run, "stream_id": slot, "camera_id": camera}
        values = {"camera_type": "fileset", "path": "/videos", "name": "Gate", "output_dir": ""}
        self.send("start_analysis", **head, **{**values, **fields})

    def push(
        self,
        files: dict[int, tuple[Path, Path]],
        camera: int = 3,
        slot: int = 0,
        end: bool = True,
        request: str = "run:r1#1/0.1",
        **more: Any,
    ) -> None:
        """`files`: source and output path by id."""
        entries: list[dict[str, Any]] = [
            {"file_type": "file", "file_id": one, "file_path": str(path), "output_path": str(out), **more}
            for one, (path, out) in files.items()
        ]
        entries += [{"file_type": "eos"}] if end else []
        head = {"request_id": request, "stream_id": slot, "camera_id": camera}
        self.send("push_file", **head, files_count=len(files), files=entries)

    def wait(self, kind: str, timeout: float = SLOW, **fields: Any) -> dict[str, Any]:
        """The oldest message of that type and content that no `wait` has given yet."""

        def found() -> dict[str, Any] | None:
            for message in self.said:
                if message["type"] == kind and not message.get("_seen") and fields.items() <= message.items():
                    return message
            return None

        with self._changed:
            assert self._changed.wait_for(found, timeout), f"no {kind} {fields} in {self.said}"
            message = found()
            assert message is not None
            message["_seen"] = True
            return message

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.said if message["type"] == kind]

    def _serve(self, socket: ServerConnection) -> None:
        if self.refusals:
            socket.close(self.refusals.pop(0))
            return
        with suppress(ConnectionClosed):
            for text in socket:
                message: dict[str, Any] = json.loads(text)
                message["_at"] = time.monotonic()
                if message["type"] == "app_ready":
                    socket.send(json.dumps(self._ack(message)))
                    if self.status != "ok":
                        socket.close(1008, "not this one")
                    self._socket = socket
                with self._changed:
                    self.said.append(message)
                    self._changed.notify_all()

    def _ack(self, ready: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "execute_ack",
            "instance_id": ready["instance_id"],
            "status": self.status,
            "config_verified": self.status == "ok",
            "streams_count_verified": True,
            "timestamp": "2026-11-21T08:00:00Z",
            **({} if self.status == "ok" else self.problem),
        }


def config_in(folder: Path, **values: Any) -> Path:
    path = folder / "app.json"
    path.write_text(json.dumps({"archive": str(DEMO), **values}))
    return path


def environment(data: Path) -> dict[str, str]:
    # Without an export: that takes longer than all of these tests.
    return os.environ | {
        "SIWAT_DATA_DIR": str(share_exports(data)),
        "SIWAT_RUNTIME__BACKEND": "torch",
        "SIWAT_RUNTIME__DEVICE": "cpu",
        "SIWAT_RUNTIME__THREADS": "1",
        "APP_ID": INSTANCE,
    }


@contextmanager
def app(
    server: ScriptedServer, config: Path, data: Path, streams: int = 1, env: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """A real app, killed at the end where it still runs; `env`: other settings than `environment`."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "siwatsystem", "analyze"),
            *("--server", server.url, "--config", str(config), "--streams", str(streams)),
        ],
        cwd=ROOT,
        env=environment(data) if env is None else env,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Without what differs from run to run: the time of day, and sessions that are made up."""
    found = [json.loads(text) for text in path.read_text().splitlines()]
    for line in found:
        line.pop("time")
        for event in line["events"]:
            event.pop("session_id")
    return found
