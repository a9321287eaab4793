"""The machine and the worker's process: how busy, how much waits."""

import time
from typing import Any

import psutil

from siwatsystem.overview.history import History, Rates
from siwatsystem.worker import Worker

FIGURES = (
    "cpu",
    "memory",
    "gpu",
    "gpu_memory",
    "worker_cpu",
    "worker_mb",
    "analysed",
    "dropped",
    "waiting",
    "outbox",
)
"""Percent of the machine; percent of a core and megabytes of the worker; frames a second; frames that wait
for a thread; actions on disk."""


class Machine:
    """Samples and tells them."""

    def __init__(self, worker: Worker) -> None:
        self.history = History(FIGURES)
        self._worker = worker
        self._process = psutil.Process()
        self._cpu = Rates()
        self._cpu.rate(time.process_time(), time.monotonic())

    def sample(self, at: float, now: float, analysed: float, dropped: float) -> None:
        """`analysed` and `dropped`: frames a second of all cameras."""
        usage = self._worker.usage
        cpu = self._cpu.rate(time.process_time(), now)
        self.history.add(
            at,
            cpu=usage.cpu,
            memory=usage.memory,
            gpu=usage.gpu,
            gpu_memory=usage.gpu_memory,
            worker_cpu=None if cpu is None else 100 * cpu,
            worker_mb=self._process.memory_info().rss / 1e6,
            analysed=analysed,
            dropped=dropped,
            waiting=self._worker.threads.load()[1],
            outbox=self._worker.engine.status()["depth"],
        )

    def state(self, outbox: dict[str, Any]) -> dict[str, Any]:
        """Now; `outbox` is its own status."""
        usage, worker = self._worker.usage, self._worker
        busy, waiting = worker.threads.load()
        newest = self.history.newest
        return {
            "cpu": usage.cpu,
            "memory": usage.memory,
            "gpu": usage.gpu,
            "gpu_memory": usage.gpu_memory,
            "worker_cpu": newest("worker_cpu"),
            "worker_mb": newest("worker_mb"),
            "busy": busy,
            "waiting": waiting,
            "connections": len(worker.connections),
            "outbox": {name: outbox[name] for name in ("depth", "bytes", "pending", "failed", "dropped")},
            "servers": outbox["servers"],
        }
