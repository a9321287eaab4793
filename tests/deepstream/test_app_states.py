"""What becomes of an app in each of its states."""

import pytest

from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.events import (
    ConnectionLost,
    Exited,
    Launch,
    Terminate,
)
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.states import AppState
from tests.deepstream.by_hand import CONFIG, Bench

STATES = {
    "starting": AppState.STARTING,
    "running": AppState.RUNNING,
    "away": AppState.RUNNING,
    "stopping": AppState.STOPPING,
    "backoff": AppState.BACKOFF,
    "exited": AppState.EXITED,
    "crashed": AppState.CRASHED,
}


def bench_in(state: str) -> Bench:
    limits = Limits(restarts=0) if state == "crashed" else None
    bench = Bench(limits=limits, connected=state in ("running", "away", "stopping"))
    if state == "away":
        bench.do(ConnectionLost(1))
    elif state in ("stopping", "exited"):
        bench.do(Terminate("t", "a"))
        if state == "exited":
            bench.do(Exited("a", 1, 0))
    elif state in ("backoff", "crashed"):
        bench.do(Exited("a", 1, 1))
    assert bench.app.state is STATES[state]
    return bench


TRANSITIONS = {
    "app_ready": {
        "starting": "running",
        "running": "running",
        "away": "running",
        "stopping": "stopping",
        "backoff": "running",
        "exited": "running",
        "crashed": "running",
    },
    "exit 0": {
        "starting": "backoff",
        "running": "exited",
        "away": "exited",
        "stopping": "exited",
        "backoff": "backoff",
        "exited": "exited",
        "crashed": "crashed",
    },
    "exit 1": {
        "starting": "backoff",
        "running": "backoff",
        "away": "backoff",
        "stopping": "exited",
        "backoff": "backoff",
        "exited": "exited",
        "crashed": "crashed",
    },
    "terminate": {
        "starting": "stopping",
        "running": "stopping",
        "away": "stopping",
        "stopping": "stopping",
        "backoff": "exited",
        "exited": "exited",
        "crashed": "crashed",
    },
    "time": {
        "starting": "stopping",
        "running": "running",
        "away": "stopping",
        "stopping": "stopping",
        "backoff": "starting",
        "exited": "exited",
        "crashed": "crashed",
    },
    "connection lost": {
        "running": "running",
        "stopping": "stopping",
    },
    "launch": {
        "exited": "starting",
        "crashed": "starting",
        "starting": "starting",
        "running": "running",
        "stopping": "stopping",
        "backoff": "backoff",
    },
    "server restart": {state: STATES[state].value for state in STATES},
}


@pytest.mark.parametrize(
    ("event", "before", "after"),
    [(event, before, after) for event, table in TRANSITIONS.items() for before, after in table.items()],
)
def test_what_becomes_of_an_app(event: str, before: str, after: str):
    bench = bench_in(before)
    match event:
        case "app_ready":
            bench.ready(2)
        case "exit 0":
            bench.do(Exited("a", 1, 0))
        case "exit 1":
            bench.do(Exited("a", 1, 1))
        case "terminate":
            bench.do(Terminate("t2", "a"))
        case "connection lost":
            bench.do(ConnectionLost(1))
        case "launch":
            bench.do(Launch("l2", Spec(CONFIG, 2), "a"))
        case "server restart":
            bench.control = Control.rebuilt(bench.control.export(), bench.now)
        case _:
            due = bench.control.next_due()
            bench.after(0 if due is None else due - bench.now)
    assert bench.app.state.value == after
