"""How long the worker takes from its start until it answers, and until it ends when told to.

python -m bench.start [--json] [--repeats 7]
"""

import json
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.pipeline import spread
from demo.processes import Process, free_port

ROOT = Path(__file__).parent.parent
LONGEST_SEC = 60.0


def once(folder: Path) -> tuple[float, float]:
    """Seconds from exec to the first answer of `/health`, and from SIGTERM to the end."""
    port = free_port()
    env = {**os.environ, "SIWAT_HOST": "127.0.0.1", "SIWAT_PORT": str(port), "SIWAT_DATA_DIR": str(folder)}
    began = time.perf_counter()
    process = Process([sys.executable, str(ROOT / "app.py")], folder / "worker.log", env)
    try:
        while not _answers(port):
            if time.perf_counter() - began > LONGEST_SEC:
                raise RuntimeError(f"the worker does not answer:\n{process.tail()}")
            time.sleep(0.005)
        answered = time.perf_counter() - began
    except BaseException:
        process.stop()
        raise
    told = time.perf_counter()
    if (status := process.stop()) != 0:
        raise RuntimeError(f"the worker ended with status {status}:\n{process.tail()}")
    return answered, time.perf_counter() - told


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    repeats: Annotated[int, typer.Option(help="Starts")] = 7,
) -> None:
    """Measure and print; the first start, which fills the disk's cache, is not counted."""
    with tempfile.TemporaryDirectory() as temporary:
        times = [once(Path(temporary)) for _ in range(repeats + 1)][1:]
    result: dict[str, Any] = {
        "name": "start",
        "answers_sec": spread([answered for answered, _ in times]),
        "ends_sec": spread([ended for _, ended in times]),
    }
    if as_json:
        print(json.dumps(result))
        return
    for name in ("answers_sec", "ends_sec"):
        values = result[name]
        Console().print(f"{name}: median {values['median']} ({values['min']} to {values['max']})")


if __name__ == "__main__":
    typer.run(main)
