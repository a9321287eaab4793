"""The control server's process on a Ray cluster: what it is asked over a pipe it asks Ray.

`python -m siwatsystem.deepstream.ray_driver`, started by `ray_link`. A process of its own, because Ray ends
the process that speaks with it when it loses the cluster. stdin and stdout carry lines of JSON; the first
is `{"address", "namespace"}`. An order has an `op` and perhaps an `id`, which its answer repeats. It ends
with stdin; the actors are detached, so they go on.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from siwatsystem.deepstream.ray_actor import CONCURRENCY, AppActor

_CALL_SEC = 20.0
"""For an actor's answer; nothing that it is asked takes longer."""
_KILL_SEC = 3.0
"""For an actor to have its app killed; then it is killed itself."""
_AGAIN_SEC = 1.0
_NODE_SEC = 2.0
"""For the cluster to know that a node has died, once the actor on it has."""
_THREADS = 16
NODE_DIED = "its node has died"


class RayDriver:
    def __init__(self, namespace: str, say: Callable[[dict[str, Any]], None]) -> None:
        import ray

        self._ray: Any = ray
        self._namespace = namespace
        self._say = say
        self._class: Any = ray.remote(AppActor)
        self._unwanted: set[str] = set()
        """Actors that were ended perhaps before they were made."""

    def nodes(self) -> dict[str, Any]:
        """Those that live: what they have, and what of it is free."""
        # Of each node only this tells what is free.
        from ray._private.state import available_resources_per_node

        free: dict[str, dict[str, float]] = available_resources_per_node()
        return {
            "nodes": [
                {
                    "host": node["NodeManagerHostname"],
                    "gpus": node["Resources"].get("GPU", 0.0),
                    "cpus": node["Resources"].get("CPU", 0.0),
                    "free_gpus": free.get(node["NodeID"], {}).get("GPU", 0.0),
                    "free_cpus": free.get(node["NodeID"], {}).get("CPU", 0.0),
                }
                for node in self._ray.nodes()
                if node["Alive"]
            ]
        }

    def launch(
        self,
        name: str,
        gpus: int,
        cpus: float,
        arguments: list[str],
        variables: dict[str, str],
        mark: str,
        launch_sec: float,
    ) -> dict[str, Any]:
        """Place an actor and start its app: what `AppActor.start` tells. `end` cuts it short."""
        self._unwanted.discard(name)
        actor = self._class.options(
            name=name,
            namespace=self._namespace,
            lifetime="detached",
            num_gpus=gpus,
            num_cpus=cpus,
            scheduling_strategy="SPREAD",
            max_concurrency=CONCURRENCY,
            max_restarts=0,
        ).remote()
        if name in self._unwanted:
            self._end(actor)
        try:
            told = self._ray.get(actor.start.remote(arguments, variables, mark), timeout=launch_sec)
        except self._ray.exceptions.GetTimeoutError:
            self._end(actor)
            return {"error": f"no node has taken it within {launch_sec:g} s"}
        except self._ray.exceptions.RayError as error:
            self._end(actor)
            return {"error": _why(error)}
        if told["error"] is not None:
            self._end(actor)
        return told

    def watch(self, name: str, offset: int) -> None:
        """Tell what becomes of an app until it has ended: `found`, `news`, `lost`. Blocks as long."""
        try:
            actor = self._ray.get_actor(name, namespace=self._namespace)
        except ValueError:
            self._say({"event": "lost", "name": name, "reason": "it is not on the cluster any more"})
            return
        about: dict[str, Any] = {}
        while True:
            try:
                if not about:
                    about = self._ray.get(actor.about.remote(), timeout=_CALL_SEC)
                    self._say({"event": "found", "name": name, **about})
                news = self._ray.get(actor.news.remote(offset), timeout=_CALL_SEC)
            except (
                self._ray.exceptions.GetTimeoutError,
                self._ray.exceptions.ActorUnavailableError,
            ):
                time.sleep(_AGAIN_SEC)  # whether its node is dead is for the cluster to say
                continue
            except self._ray.exceptions.RayError as error:
                self._end(actor)  # whatever has failed: its app is launched again, and must be there once
                reason = NODE_DIED if self._has_died(about.get("node")) else _why(error)
                self._say({"event": "lost", "name": name, "reason": reason})
                return
            offset = news["offset"]
            output = news.pop("output").decode("latin-1")  # any byte, and JSON
            self._say({"event": "news", "name": name, "output": output, **news})
            if news["ended"]:
                self._end(actor)
                return

    def signal(self, name: str, signal: str) -> None:
        try:
            actor = self._ray.get_actor(name, namespace=self._namespace)
        except ValueError:
            return  # whoever watches it tells
        try:
            self._ray.get(actor.signal.remote(signal), timeout=_KILL_SEC)
        except self._ray.exceptions.RayError:
            if signal == "KILL":
                self._end(actor)

    def end(self, name: str) -> None:
        """Kill its actor without a word, also one that is about to be made."""
        self._unwanted.add(name)
        try:
            self._end(self._ray.get_actor(name, namespace=self._namespace))
        except ValueError:
            return

    def names(self) -> dict[str, Any]:
        """Of the actors of this namespace."""
        actors = self._ray.util.list_named_actors(all_namespaces=True)
        return {"names": [found["name"] for found in actors if found["namespace"] == self._namespace]}

    def _has_died(self, node: str | None) -> bool:
        """Whether a node has; an actor's own end is told first, and names its process."""
        ends = time.monotonic() + _NODE_SEC
        while node is not None:
            with contextlib.suppress(self._ray.exceptions.RayError):
                if not any(one["Alive"] for one in self._ray.nodes() if one["NodeID"] == node):
                    return True
            if time.monotonic() > ends:
                break
            time.sleep(0.2)
        return False

    def _end(self, actor: Any) -> None:
        """Its keeper sees that it is gone, and kills the app."""
        self._ray.kill(actor, no_restart=True)


def _why(error: BaseException) -> str:
    """In one line, without Ray's dump of the actor."""
    text = " ".join(str(error).split())
    if "node has died" in text or "node died" in text or "node was terminated" in text:
        return NODE_DIED
    return text[:300]


def main() -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # Ray writes to stdout
    lock = threading.Lock()

    def say(news: dict[str, Any]) -> None:
        with lock:
            out.write(json.dumps(news) + "\n")
            out.flush()

    try:
        _serve(say)
    except BaseException as error:  # whoever started it must know why
        say({"event": "failed", "reason": " ".join(str(error).split())[:500] or type(error).__name__})
    os._exit(0)  # ray.shutdown() may wait for a cluster that is gone


def _serve(say: Callable[[dict[str, Any]], None]) -> None:
    import ray

    told = json.loads(sys.stdin.readline())
    ray.init(
        address=told["address"],
        namespace=told["namespace"],
        log_to_driver=False,
        configure_logging=False,
    )
    driver = RayDriver(told["namespace"], say)
    say({"event": "connected", **driver.nodes()})
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="order") as pool:
        for line in sys.stdin:
            order = json.loads(line)
            if order["op"] in ("watch", "launch"):  # they take long: nobody may wait for a thread behind them
                threading.Thread(target=_carry_out, args=(driver, order, say), daemon=True).start()
            else:
                pool.submit(_carry_out, driver, order, say)
        os._exit(0)


def _carry_out(driver: RayDriver, order: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    number, operation = order.pop("id", None), order.pop("op")
    try:
        answer = getattr(driver, operation)(**order)
    except Exception as error:  # whoever asked waits for an answer
        answer = {"error": _why(error)}
        if operation == "watch":
            with contextlib.suppress(Exception):
                driver.end(order["name"])
            say({"event": "lost", "name": order["name"], "reason": _why(error)})
    if number is not None:
        say({"id": number, "answer": answer or {}})


if __name__ == "__main__":
    main()
