"""The state from its records, after a restart of the server."""

from typing import Any

from siwatsystem.deepstream import records
from siwatsystem.deepstream.apps import App, Slot
from siwatsystem.deepstream.ledger import Ledger
from siwatsystem.deepstream.requests import File, Request
from siwatsystem.deepstream.states import ENDED, FINISHED, AppState, FileState, Stage


def rebuild(ledger: Ledger, state: dict[str, Any]) -> None:
    """Fill an empty `ledger`. Apps that lived are awaited: each has a deadline to connect again.

    Raises ValueError for records of another version, KeyError or TypeError for what are none.
    """
    if state.get("version") != records.VERSION:
        raise ValueError(f"state of version {state.get('version')}, not {records.VERSION}")
    for record in state["app"].values():
        _add_app(ledger, records.read_app(record))
    files: dict[str, list[File]] = {}
    for record in state["file"].values():
        files.setdefault(record["request_id"], []).append(records.read_file(record))
    requests = [records.read_request(record) for record in state["request"].values()]
    for request in sorted(requests, key=lambda request: request.ended_at or 0.0):
        _add_request(ledger, request, files.get(request.id, []))
    for key, record in state["answer"].items():
        ledger.answers.add(key, records.read_answer(record))


def _add_app(ledger: Ledger, app: App) -> None:
    ledger.apps[app.instance_id] = app
    app.slots = [Slot(stream_id) for stream_id in range(app.streams_count or 0)]
    limits = ledger.limits
    after = {
        AppState.STARTING: limits.ready_sec,
        AppState.RUNNING: limits.reconnect_sec,
        AppState.STOPPING: 0.0,
        AppState.BACKOFF: limits.backoff_sec,
    }.get(app.state)
    if after is not None:
        ledger.deadlines.set((app.instance_id,), ledger.now + after)


def _add_request(ledger: Ledger, request: Request, files: list[File]) -> None:
    ledger.requests[request.id] = request
    ledger.restore_order(request.order)
    request.add(sorted(files, key=lambda file: file.index))
    ledger.unfinished += request.unfinished
    for file in request.files.values():
        if file.by is not None and file.state in FINISHED:
            app = ledger.apps.get(file.by[0])
            if app is not None and file.by[1] < len(app.slots):
                app.slots[file.by[1]].done += file.state is FileState.DONE
                app.slots[file.by[1]].failed += file.state is FileState.FAILED
    if request.state in ENDED:
        ledger.retire(request)
        return
    ledger.unended += 1
    if request.stage is Stage.LINE:
        ledger.line_of(request).add(request)
    place = ledger.slot_of(request)
    if place is None:
        return
    slot = place[1]
    slot.load += request.weight
    if request.stage is not Stage.LINE:
        slot.current = request
        request.restored = True
        request.moved(ledger.now)
