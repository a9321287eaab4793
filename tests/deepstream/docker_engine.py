"""A stand-in for the Docker engine: it speaks the engine's HTTP over a Unix socket for the calls that an exec
needs, and runs what it is told as ordinary processes here, each in a session of its own as the engine does.

Its containers are only names. A number inside a container is the one outside here.
"""

import http.server
import json
import os
import socketserver
import struct
import subprocess
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERSION = {"Version": "28.2.2", "ApiVersion": "1.50", "MinAPIVersion": "1.24", "Os": "linux"}


@dataclass
class Exec:
    container: str
    arguments: list[str]
    variables: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    code: int | None = None

    @property
    def inspected(self) -> dict[str, Any]:
        running = self.process is not None and self.process.poll() is None
        code = None if self.process is None or running else self.process.returncode
        told = None if code is None else (code if code >= 0 else 128 - code)
        pid = self.process.pid if self.process is not None and running else 0
        return {"Running": running, "ExitCode": self.code if self.code is not None else told, "Pid": pid}


@dataclass
class FakeEngine:
    """`containers`: their states by name, as the engine words them."""

    socket: Path
    containers: dict[str, str]
    execs: dict[str, Exec] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    without_shell: bool = False
    lock: Any = field(default_factory=threading.Lock)

    def __enter__(self) -> "FakeEngine":
        self.socket.unlink(missing_ok=True)
        self._server = _Server(str(self.socket), _Handler)
        self._server.engine = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.socket.unlink(missing_ok=True)

    def end(self) -> None:
        """End all that runs."""
        for each in self.execs.values():
            if each.process is not None and each.process.poll() is None:
                each.process.kill()
                each.process.wait()

    @property
    def apps(self) -> list[Exec]:
        """Without those that only sent a signal."""
        return [each for each in self.execs.values() if not each.arguments[2].startswith("kill")]


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    engine: FakeEngine


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        engine, parts = self._asked()
        match parts:
            case ["version"]:
                self._answer(200, VERSION)
            case ["containers", name, "json"] if name in engine.containers:
                state = engine.containers[name]
                running, paused = state in ("running", "paused"), state == "paused"
                self._answer(
                    200, {"Id": name, "State": {"Status": state, "Running": running, "Paused": paused}}
                )
            case ["containers", name, "json"]:
                self._answer(404, {"message": f"No such container: {name}"})
            case ["exec", exec_id, "json"] if exec_id in engine.execs:
                self._answer(200, {"ID": exec_id, **engine.execs[exec_id].inspected})
            case _:
                self._answer(404, {"message": "page not found"})

    def do_POST(self) -> None:
        engine, parts = self._asked()
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        match parts:
            case ["containers", name, "exec"] if engine.containers.get(name) == "running":
                exec_id = uuid.uuid4().hex
                variables = dict(each.split("=", 1) for each in body.get("Env") or [])
                engine.execs[exec_id] = Exec(name, body["Cmd"], variables)
                self._answer(201, {"Id": exec_id})
            case ["containers", name, "exec"]:
                self._answer(409, {"message": f"container {name} is not running"})
            case ["exec", exec_id, "start"] if exec_id in engine.execs and not body["Detach"]:
                self._run(engine, engine.execs[exec_id])
            case _:
                self._answer(404, {"message": "page not found"})

    def _asked(self) -> tuple[FakeEngine, list[str]]:
        assert isinstance(self.server, _Server)
        self.server.engine.requests.append(f"{self.command} {self.path}")
        parts = self.path.partition("?")[0].strip("/").split("/")
        return self.server.engine, parts[1:] if parts[0].startswith("v1.") else parts

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _run(self, engine: FakeEngine, run: Exec) -> None:
        """The raw stream of an exec: frames of stdout (1) and stderr (2), each with a header of 8 bytes."""
        self.close_connection = True
        self.wfile.write(
            b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
        if engine.without_shell:
            run.code = 127
            self._frame(1, b'OCI runtime exec failed: exec: "sh": executable file not found in $PATH\r\n')
            return
        run.process = subprocess.Popen(
            run.arguments,
            env={"PATH": os.environ["PATH"], **run.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert run.process.stdout is not None
        assert run.process.stderr is not None
        with run.process.stdout as out, run.process.stderr as err:
            other = threading.Thread(target=self._copy, args=(2, err))
            other.start()
            self._copy(1, out)
            other.join()
        run.process.wait()

    def _copy(self, stream: int, source: Any) -> None:
        broken = False
        while part := source.read1(32 * 1024):
            try:  # who reads may have gone; the process goes on, and nobody sees what it writes
                if not broken:
                    self._frame(stream, part)
            except OSError:
                broken = True

    def _frame(self, stream: int, data: bytes) -> None:
        with self.server.engine.lock:  # type: ignore[attr-defined]
            self.wfile.write(struct.pack(">BxxxL", stream, len(data)) + data)
