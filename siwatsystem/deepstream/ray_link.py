"""The control server's line to a Ray cluster: a child process (`ray_driver`), begun again when it ends.

Three threads: `ray-link` reads what the child tells, `ray-write` writes what it is asked, `ray-look` asks for
the cluster's nodes every few seconds; a child that does not answer is killed.
"""

import contextlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from pathlib import Path
from typing import Any

from siwatsystem.deepstream import environment
from siwatsystem.deepstream.ray_room import Node

log = logging.getLogger(__name__)

_LOOK_SEC = 2.0
"""Between two looks at the cluster."""
_ANSWER_SEC = 15.0
"""For the answer to a look; then the line is begun anew."""
_AGAIN_SEC, _AGAIN_MAX_SEC = 1.0, 15.0
"""Before the line is begun anew; each further time twice as long."""
_END_SEC = 2.0

Heard = Callable[[dict[str, Any]], None]


class Unreachable(Exception):
    """The cluster does not answer; the text says why."""


class RayLink:
    """`heard` takes news of apps, `connected` is called after each connection; both from the reading thread,
    and must not wait. `problem`: why there is no connection; None while there is one."""

    def __init__(
        self, address: str, token_file: Path, namespace: str, heard: Heard, connected: Callable[[], None]
    ) -> None:
        self._about = {"address": address, "namespace": namespace}
        self._environment = child_environment(token_file)
        self._heard = heard
        self._connected = connected
        self.problem: str | None = f"the Ray cluster at {address} was not reached yet"
        self.nodes: tuple[Node, ...] = ()
        """Those that live, a few seconds ago."""
        self.up = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._asked: dict[int, Future[dict[str, Any]]] = {}
        self._number = 0
        self._orders: queue.SimpleQueue[tuple[subprocess.Popen[bytes], bytes] | None] = queue.SimpleQueue()
        self._said = ""
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for work, name in ((self._run, "ray-link"), (self._write, "ray-write"), (self._look, "ray-look"))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """The child ends with its stdin; blocks for a few seconds at most."""
        self._closing.set()
        self._orders.put(None)
        child = self._child
        if child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_END_SEC)
            child.kill()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_END_SEC)

    def say(self, operation: str, **order: Any) -> None:
        """Ask for something that nobody waits for; lost where there is no connection."""
        with self._lock:
            child = self._child
        if child is not None:
            self._orders.put((child, _line({"op": operation, **order})))

    def ask(self, operation: str, within_sec: float, **order: Any) -> dict[str, Any]:
        """The answer. Raises Unreachable: no connection, or no answer in time."""
        answer: Future[dict[str, Any]] = Future()
        with self._lock:
            child = self._child
            if child is None or not self.up.is_set():
                raise Unreachable(self.problem or "the Ray cluster is not connected")
            self._number += 1
            number = self._number
            self._asked[number] = answer
        self._orders.put((child, _line({"op": operation, "id": number, **order})))
        try:
            return answer.result(within_sec)
        except TooLate:
            raise Unreachable(f"the Ray cluster has not answered within {within_sec:g} s") from None
        finally:
            with self._lock:
                self._asked.pop(number, None)

    # --- the child ----------------------------------------------------------------------------

    def _run(self) -> None:
        pause = _AGAIN_SEC
        while not self._closing.is_set():
            self._said = ""
            try:
                self._live()
            except Exception as error:  # whatever it was: the next child may do better
                log.exception("the line to the Ray cluster has failed")
                self._said = f"{type(error).__name__}: {error}"
            pause = _AGAIN_SEC if self.up.is_set() else min(pause * 2, _AGAIN_MAX_SEC)
            self._lose()
            self._closing.wait(pause)

    def _live(self) -> None:
        """From the beginning of a child to its end."""
        child = subprocess.Popen(  # nosec B603 # constant
            [sys.executable, "-m", "siwatsystem.deepstream.ray_driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for the server: apps are asked to end first
            env=self._environment,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        threading.Thread(target=self._note, args=(child,), name="ray-note", daemon=True).start()
        self._orders.put((child, _line(self._about)))  # before anybody else can ask it for something
        with self._lock:
            self._child = child
        try:
            for line in child.stdout:
                self._take(json.loads(line))
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
            with contextlib.suppress(OSError):
                child.stdin.close()

    def _take(self, news: dict[str, Any]) -> None:
        if "id" in news:
            with self._lock:
                waiting = self._asked.pop(news["id"], None)
            if waiting is not None:
                waiting.set_result(news["answer"])
            return
        match news["event"]:
            case "connected":
                self._see(news)
                self.problem = None
                self.up.set()
                log.info("connected to the Ray cluster at %s", self._about["address"])
                self._connected()
            case "failed":
                self._said = news["reason"]
            case _:
                self._heard(news)

    def _see(self, answer: Mapping[str, Any]) -> None:
        self.nodes = tuple(Node(**node) for node in answer["nodes"])

    def _lose(self) -> None:
        reason = self._said or "its connection was lost"
        problem = f"the Ray cluster at {self._about['address']} is not reached: {reason}"
        with self._lock:
            self._child = None
            lost, self._asked = self._asked, {}
        if not self._closing.is_set() and problem != self.problem:
            log.error("%s", problem)
        self.problem = problem
        self.up.clear()
        for waiting in lost.values():
            waiting.set_exception(Unreachable(problem))

    def _note(self, child: "subprocess.Popen[bytes]") -> None:
        """What Ray writes must be read, or it would wait."""
        assert child.stderr is not None
        with child.stderr as said:
            for line in said:
                text = line.decode(errors="replace").strip()
                if text:
                    log.debug("ray: %s", text)

    def _write(self) -> None:
        while (order := self._orders.get()) is not None:
            child, line = order
            assert child.stdin is not None
            with contextlib.suppress(OSError, ValueError):
                child.stdin.write(line)
                child.stdin.flush()
        child = self._child
        if child is not None and child.stdin is not None:
            with contextlib.suppress(OSError):
                child.stdin.close()

    def _look(self) -> None:
        while not self._closing.wait(_LOOK_SEC):
            if not self.up.is_set():
                continue
            try:
                answer = self.ask("nodes", _ANSWER_SEC)
                if "error" in answer:
                    raise Unreachable(answer["error"])
                self._see(answer)
            except Exception as error:  # the thread's outermost loop: a new child may do better
                if not isinstance(error, Unreachable):
                    log.exception("the nodes of the Ray cluster cannot be told")
                self._said = str(error)
                child = self._child
                if child is not None:
                    child.kill()


def child_environment(token_file: Path) -> dict[str, str]:
    """Few variables, and those of Ray: the token is named, never looked for below the home folder, and
    nothing reports home."""
    ray = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    for name in ("RAY_AUTH_TOKEN", "RAY_ADDRESS", "RAY_NAMESPACE"):
        ray.pop(name, None)
    return {
        **environment.passed_on(),
        **ray,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file.resolve()),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _line(order: Mapping[str, Any]) -> bytes:
    return json.dumps(order).encode() + b"\n"
