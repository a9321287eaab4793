"""A Ray cluster of several nodes on this machine, as a process: `python -m tests.deepstream.ray_nodes`.

It writes a line of JSON for each order that it has read and carried out: `{"add": {…}}` with a node's
arguments, `{"kill": number}`. The head, node 0, has no CPU. All of it ends with stdin.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.acceptance.control import ControlServer

ROOT = Path(__file__).parent.parent.parent
STORE_BYTES = 80 * 1024 * 1024
TOKEN = "0123456789abcdef" * 4


class Nodes:
    """The process, from outside. `address` and `token_file` are for who connects."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        """`settings`: further environment variables, which apps get as well."""
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.token_file = folder / "ray.token"
        self.token_file.write_text(TOKEN + "\n")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "HOME": str(self.home),
            "RAY_TMPDIR": str(folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "RAY_USAGE_STATS_ENABLED": "0",
            # A dead node is noticed within seconds, also where all of this shares two cores.
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "5000",
            "RAY_health_check_failure_threshold": "3",
            **(settings or {}),
        }
        self._output = (folder / "cluster.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.deepstream.ray_nodes"],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
        )
        try:
            self.address = self._answer()["address"]
        except BaseException:
            self.close()
            raise

    def add(self, **arguments: Any) -> int:
        """The number of the new node."""
        return self._ask({"add": arguments})["node"]

    def kill(self, node: int) -> None:
        """All of its own processes with SIGKILL, as if its machine had lost its power."""
        self._ask({"kill": node})

    def close(self) -> None:
        """A second time is nothing."""
        if self._output.closed:
            return
        with self._output:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            with contextlib.suppress(OSError):
                self.process.stdin.close()
            try:
                self.process.wait(20)
            finally:
                self.process.kill()
                self.process.wait()
                self.process.stdout.close()

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.folder / "cluster.log").read_text()[-3000:]
        return json.loads(line)


@contextmanager
def cluster(*nodes: dict[str, Any], settings: dict[str, str] | None = None) -> Iterator[Nodes]:
    """A head without room for apps, and these nodes. In a folder of its own: Ray's sockets must have short
    names."""
    with TemporaryDirectory(prefix="n", dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = Nodes(Path(folder), settings)
        try:
            for node in nodes:
                made.add(**node)
            yield made
        finally:
            made.close()


class RayServer(ControlServer):
    """A control server whose apps run on the cluster."""

    def start(self) -> None:
        self.env["SIWAT_CONTROL__SERVER_URL"] = self.socket_url
        super().start()

    def place(self, body: dict[str, Any]) -> Any:
        """The answer to a launch. A busy machine may take longer than a request waits: it is sent again."""

        def ask() -> Any:
            with contextlib.suppress(TimeoutError):
                return self.post("/launch", {**body, "request_id": "place"})

        return self.until(ask, 90)


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    from ray.cluster_utils import Cluster

    common = {"object_store_memory": STORE_BYTES, "include_dashboard": False, "node_ip_address": "127.0.0.2"}
    made = Cluster(initialize_head=True, head_node_args={**common, "num_cpus": 0})
    nodes: list[Any] = [made.head_node]

    def say(answer: dict[str, Any]) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    try:
        say({"address": made.address})
        for line in sys.stdin:
            order = json.loads(line)
            if "add" in order:
                nodes.append(made.add_node(**common, **order["add"]))
                say({"node": len(nodes) - 1})
            else:
                made.remove_node(nodes[order["kill"]], allow_graceful=False)
                say({"killed": order["kill"]})
    finally:
        made.shutdown()


if __name__ == "__main__":
    main()
