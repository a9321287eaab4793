"""An app on a Ray cluster, seen from its node: the actor that has it run and tells what becomes of it.

The app is a child of a keeper (`ray_keeper`), so that it ends with the actor, however that ends. What it
writes is kept here, the last `KEPT_BYTES`, until it is fetched: nothing is left on the node.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from siwatsystem.deepstream import environment, groups

KEPT_BYTES = 1024 * 1024
"""Of what the app wrote and nobody has fetched."""
PART_BYTES = 256 * 1024
"""Of that, in one answer."""
CONCURRENCY = 8
"""Calls at a time; one of them waits for news."""
_COLLECT_SEC = 0.3
"""What is written shortly after the first bytes goes with them."""
_WAIT_SEC = 5.0
_KILL_SEC = 3.0


class AppActor:
    """One launch of one app. Its methods are called from several threads at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._output = bytearray()
        self._start = 0
        """How much was written before what `_output` holds."""
        self._open = True
        """More may be written."""
        self._ended = False
        self._node_died = False
        self._code: int | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._about: dict[str, Any] = {}
        threading.Thread(target=self._end_with_node, name="app-node", daemon=True).start()

    def start(self, arguments: Sequence[str], variables: Mapping[str, str], mark: str) -> dict[str, Any]:
        """Start it: `pid`, `node`, `host`, or `error`. An empty first argument means this node's Python."""
        told, tell_to = os.pipe()
        try:
            keeper = subprocess.Popen(  # noqa: S603 # nosec B603 # constant
                [sys.executable, "-m", "siwatsystem.deepstream.ray_keeper", str(tell_to)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[tell_to],
                env=environment.passed_on(),
            )
        except BaseException:
            os.close(told)
            raise
        finally:
            os.close(tell_to)
        self._keeper = keeper
        assert keeper.stdin is not None
        given = {**environment.passed_on(), **variables, **_gpus()}
        order = {
            "arguments": [arguments[0] or sys.executable, *arguments[1:]],
            "environment": given,
            "mark": mark,
        }
        keeper.wait()  # only what it left behind is the keeper
        with contextlib.suppress(BrokenPipeError):
            keeper.stdin.write(json.dumps(order).encode() + b"\n")
            keeper.stdin.flush()
        words = os.fdopen(told, "rb")
        first = _word(words.readline())
        threading.Thread(target=self._read, args=(keeper,), name="app-output", daemon=True).start()
        self._about = {**_here(), "pid": first.get("pid"), "error": first.get("error")}
        if self._about["pid"] is None:
            words.close()
            self._about["error"] = self._about["error"] or "its keeper has ended"
        else:
            threading.Thread(target=self._wait, args=(words, mark), name="app-end", daemon=True).start()
        return self._about

    def about(self) -> dict[str, Any]:
        """What `start` has told; empty before that."""
        return self._about

    def signal(self, name: Literal["TERM", "KILL"]) -> None:
        """To its whole group."""
        if self._keeper is not None and self._keeper.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._keeper.stdin.write(name[:1].encode())
                self._keeper.stdin.flush()

    def news(self, offset: int) -> dict[str, Any]:
        """What it has written since `offset` and whether it has ended; waits a few seconds for either.

        `output`; `lost`: bytes before it that are not kept any more; `offset`: for the next call; `ended`:
        and all of its output was told; `code`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._written > offset, _WAIT_SEC)
            if not self._ended:
                self._changed.wait_for(lambda: self._ended, _COLLECT_SEC)
            first = max(offset, self._start)
            output = bytes(self._output[first - self._start :][:PART_BYTES])
            after = first + len(output)
            return {
                "output": output,
                "lost": first - offset,
                "offset": after,
                # Killed for the node's end, which is what is told of it: this actor is lost in a moment.
                "ended": self._ended and after >= self._written and not self._node_died,
                "code": self._code,
            }

    @property
    def _written(self) -> int:
        return self._start + len(self._output)

    def _read(self, keeper: "subprocess.Popen[bytes]") -> None:
        assert keeper.stdout is not None
        with contextlib.suppress(OSError):
            while part := os.read(keeper.stdout.fileno(), 64 * 1024):
                with self._changed:
                    self._output += part
                    beyond = len(self._output) - KEPT_BYTES
                    if beyond > 0:
                        del self._output[:beyond]
                        self._start += beyond
                    self._changed.notify_all()
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def _wait(self, words: Any, mark: str) -> None:
        with words:
            last = _word(words.readline())
        groups.kill_marked(mark)  # where the keeper was killed, the app is left
        with self._changed:
            self._changed.wait_for(lambda: not self._open, 1.0)
            self._code = last.get("code")
            self._ended = True
            self._changed.notify_all()

    def _end_with_node(self) -> None:
        """Without its raylet this node is dead for the cluster, and the app is launched elsewhere: it must
        not go on here. Ray itself ends an actor only later."""
        raylet = int(os.environ.get("RAY_RAYLET_PID") or os.getppid())
        with contextlib.suppress(OSError):  # it is not there any more
            descriptor = os.pidfd_open(raylet)
            select.select([descriptor], [], [])
        self._node_died = True
        if self._keeper is not None:
            self.signal("KILL")
            with self._changed:
                self._changed.wait_for(lambda: self._ended, _KILL_SEC)
        os._exit(1)  # the keeper would see that, too


def _word(line: bytes) -> dict[str, Any]:
    return json.loads(line) if line.endswith(b"\n") else {}


def _here() -> dict[str, str]:
    import ray

    return {"node": ray.get_runtime_context().get_node_id(), "host": socket.gethostname()}


def _gpus() -> dict[str, str]:
    """Those that Ray has given to this actor; without any it must see none: they are others'."""
    import ray

    given = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, given))}
