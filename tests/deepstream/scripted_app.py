"""An analysis app that analyses nothing: the app's side of the contract, written from it alone.

`python scripted_app.py --server ws://… --config PATH [--streams N] [--sec S]`. It writes a line to
`<config>.done` for each file that it has done, and connects again where it lost the connection.
"""

import argparse
import asyncio
import json
import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

TOKEN = {"Authorization": f"Bearer {os.environ['APP_TOKEN']}"} if "APP_TOKEN" in os.environ else {}


@dataclass
class Camera:
    about: dict[str, Any]
    waiting: deque[dict[str, Any]] = field(default_factory=deque[dict[str, Any]])
    at: dict[str, Any] | None = None
    ended: bool = False
    done: int = 0


class ScriptedApp:
    def __init__(
        self, server: str, config: str, streams: int, seconds: float, instance_id: str | None = None
    ) -> None:
        self.instance_id = instance_id or os.environ["APP_ID"]
        self.server, self.config, self.streams, self.seconds = server, config, streams, seconds
        self.cameras: dict[int, Camera] = {}
        self.kept: deque[dict[str, Any]] = deque()
        self.socket: ClientConnection | None = None
        self.ending = False
        self.wake = asyncio.Event()

    async def run(self) -> None:
        workers = [asyncio.create_task(self._work(number)) for number in range(self.streams)]
        try:
            await self._talk()
        finally:
            for worker in workers:
                worker.cancel()

    async def _talk(self) -> None:
        again = False
        while not self.ending:
            try:
                async with connect(self.server, open_timeout=3, additional_headers=TOKEN) as socket:
                    await self._ready(socket, again=again)
                    again = True
                    async for text in socket:
                        await self._hear(socket, json.loads(text))
            except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
                pass
            self.socket = None
            await asyncio.sleep(0.1)

    async def _ready(self, socket: ClientConnection, *, again: bool) -> None:
        ready: dict[str, Any] = {
            "type": "app_ready",
            "instance_id": self.instance_id,
            "config_path": self.config,
            "process_id": os.getpid(),
            "streams_count": self.streams,
            "status": "ready",
            "version": "1",
            "start_time": "2026-11-21T08:00:00Z",
        }
        if again:
            ready |= {"reconnection": True, "last_close_code": 1006}
        await socket.send(json.dumps(ready))
        ack = json.loads(await socket.recv())
        assert ack["type"] == "execute_ack", ack
        if ack["status"] != "ok":
            raise SystemExit(3)
        while self.kept:
            await socket.send(json.dumps(self.kept[0]))
            self.kept.popleft()
        self.socket = socket
        self.wake.set()

    async def _say(self, message: dict[str, Any]) -> None:
        """Now, or once there is a connection again."""
        self.kept.append(message)
        while self.kept and self.socket is not None:
            try:
                await self.socket.send(json.dumps(self.kept[0]))
            except ConnectionClosed:
                self.socket = None
                return
            self.kept.popleft()

    async def _hear(self, socket: ClientConnection, message: dict[str, Any]) -> None:
        kind, about = message["type"], {}
        if "stream_id" in message:
            about = {key: message.get(key) for key in ("stream_id", "camera_id", "request_id")}
        match kind:
            case "start_analysis":
                self.cameras[message["stream_id"]] = Camera(about)
                await self._say({"type": "analysis_started", **about, "status": "ok"})
            case "push_file":
                camera = self.cameras[message["stream_id"]]
                for file in message["files"]:
                    if file["file_type"] == "eos":
                        camera.ended = True
                    else:
                        camera.waiting.append(file)
                await self._say({"type": "push_ack", **about, "status": "ok"})
                self.wake.set()
            case "interrupt_analysis":
                self.cameras.pop(message["stream_id"], None)
                await self._say({"type": "analysis_interrupted", **about, "status": "ok"})
            case "query_metrics":
                told = {"cpu_percent": 1.5, "ram_mb": 20.0, "gpu_percent": None, "vram_mb": None}
                answer = {"type": "metrics_response", **told, "request_id": message.get("request_id")}
                await self._say({**answer, "timestamp": "2026-11-21T08:00:05Z"})
            case "query_analysis_status":
                await self._say(self._status(message))
            case "terminate_app":
                self.ending = True
                await self._say({"type": "app_terminated", "status": "ok", "message": "bye"})
                await socket.close()
            case _:
                pass

    def _status(self, message: dict[str, Any]) -> dict[str, Any]:
        streams = [
            {
                "stream_id": number,
                "status": "running" if number in self.cameras else "idle",
                "cameras": [] if number not in self.cameras else [self._camera(self.cameras[number])],
            }
            for number in range(self.streams)
        ]
        return {"type": "analysis_status", "request_id": message.get("request_id"), "streams": streams}

    def _camera(self, camera: Camera) -> dict[str, Any]:
        def named(file: dict[str, Any]) -> dict[str, Any]:
            return {"file_id": file["file_id"], "file_name": file["file_name"]}

        at = [] if camera.at is None else [{**named(camera.at), "progress_pct": 50.0}]
        files = {
            "processing": at,
            "completed_count": camera.done,
            "queued_count": len(camera.waiting),
            "queued": [named(file) for file in camera.waiting],
        }
        return {"camera_id": camera.about["camera_id"], "status": "running", "files": files}

    async def _work(self, number: int) -> None:
        while True:
            camera = self.cameras.get(number)
            if camera is None or not (camera.waiting or camera.ended):
                self.wake.clear()
                await self.wake.wait()
                await asyncio.sleep(0.01)
                continue
            if not camera.waiting:
                del self.cameras[number]
                done = {"type": "analysis_complete", **camera.about, "status": "done", "message": ""}
                await self._say({**done, "processed_count": camera.done})
                continue
            file = camera.at = camera.waiting.popleft()
            about = {**camera.about, "file_id": file["file_id"]}
            print("begins", file["file_path"], flush=True)
            await self._say({"type": "processing_started", **about, "current_file": file["file_path"]})
            await asyncio.sleep(self.seconds)
            if self.cameras.get(number) is not camera:
                continue
            with Path(f"{self.config}.done").open("a") as log:
                log.write(f"{file['file_path']}\n")
            camera.at, camera.done = None, camera.done + 1
            result = f"{file['output_path']}.jsonl"
            await self._say({"type": "file_done", **about, "processed_file": result, "frames": 5})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--sec", type=float, default=0.3)
    options = parser.parse_args()
    asyncio.run(ScriptedApp(options.server, options.config, options.streams, options.sec).run())
