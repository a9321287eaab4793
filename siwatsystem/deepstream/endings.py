"""How a request leaves a slot: done, failed, interrupted, or back in a line."""

from collections.abc import Iterable

from siwatsystem.deepstream import trials
from siwatsystem.deepstream.apps import App, Slot
from siwatsystem.deepstream.ledger import Ledger
from siwatsystem.deepstream.requests import File, Request
from siwatsystem.deepstream.states import FileState, RequestState, Stage


class Endings:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def finish(self, app: App, slot: Slot) -> None:
        """The app has let go of what is current: all its files have ended, or it was to end early."""
        request = slot.current
        assert request is not None
        assert request.ending is not None or not request.unfinished
        self._end(app, slot, request)

    def fail(self, app: App, slot: Slot, reason: str) -> None:
        """The app does not take it."""
        request = slot.current
        assert request is not None
        if request.ending is None:
            request.ending, request.reason = RequestState.FAILED, reason
        self._end(app, slot, request)

    def take_back(
        self, app: App, slot: Slot, reason: str, *, blamed: Iterable[File] = (), fault: bool = True
    ) -> None:
        """What is current waits again, before all others, for the files that were not done.

        `fault`: the app ended or left it, so that it cannot go on for ever; `blamed`: because of these files.
        """
        request = slot.current
        assert request is not None
        request.fruitless += fault
        if self._give_up(request, blamed, reason):
            request.fruitless = 0  # without that file it may come to its end
            request.given_up += 1
        if request.ending is None and (text := self._hopeless(request)) is not None:
            request.ending, request.reason = RequestState.FAILED, f"{text}: {reason}"
        if request.ending is not None or (request.files and not request.unfinished and request.closed):
            self._end(app, slot, request)
            return
        self._leave(app, slot, request)
        request.state = RequestState.QUEUED
        request.reason = reason
        request.stage = Stage.LINE
        slot.line.add_first(request)
        slot.load += request.weight

    def _give_up(self, request: Request, blamed: Iterable[File], reason: str) -> bool:
        """Count an attempt of each; whether one of them has failed by that."""
        failed = False
        for file in list(blamed):
            file.attempts += 1
            self._ledger.note_file(request, file)
            if file.attempts >= self._ledger.limits.file_attempts and request.ending is None:
                text = f"given up after {file.attempts} attempts: {reason}"
                self._ledger.end_file(request, file, FileState.FAILED, text)
                failed = True
        return failed

    def _hopeless(self, request: Request) -> str | None:
        """Why it is not tried again, in words: no app gets on with it, whichever file it is at."""
        most = self._ledger.limits.request_attempts
        if request.fruitless >= most:
            return f"given up after {request.fruitless} attempts"
        if request.given_up >= most and request.unfinished:
            return f"given up after {request.given_up} files, one after the other, that no app got on with"
        return None

    def orphan(self, app: App) -> None:
        """Its app is gone for good: what waits for it and does not insist on it may run elsewhere."""
        for slot in app.slots:
            for request in [other for other in slot.line if other.wanted_instance is None]:
                slot.line.remove(request)
                slot.load -= request.weight
                request.instance_id = request.stream_id = None
                request.reason = f"its app is gone ({app.reason or app.state.value})"
                self._ledger.line_of(request).add(request)
                self._ledger.note_request(request)
            for request in slot.line:
                request.reason = f"it waits for {app.instance_id} to be launched again"
                self._ledger.note_request(request)
            self._ledger.note_slot(app, slot)

    def cancel_waiting(self, request: Request, reason: str) -> None:
        """End one that no app knows of."""
        self._out_of_line(request)
        request.instance_id = request.stream_id = None
        self._ledger.end_rest(request, FileState.CANCELLED, reason or None)
        self._ledger.end_request(request, RequestState.INTERRUPTED, reason or "cancelled")

    def close_waiting(self, request: Request) -> None:
        """One that waits has no more files to come and none left: it is done."""
        self._out_of_line(request)
        failed = request.tally[FileState.FAILED] and not request.tally[FileState.DONE]
        state = RequestState.FAILED if failed else RequestState.DONE
        self._ledger.end_request(request, state, _all_failed(request) if failed else None)

    def _out_of_line(self, request: Request) -> None:
        place = self._ledger.slot_of(request)
        self._ledger.line_of(request).remove(request)
        if place is not None:
            place[1].load -= request.weight
            self._ledger.note_slot(*place)

    def _end(self, app: App, slot: Slot, request: Request) -> None:
        """What is current comes to its end, and all its files with it."""
        ending, reason = request.ending, request.reason
        tally = request.tally
        if ending is not None:
            state = FileState.FAILED if ending is RequestState.FAILED else FileState.CANCELLED
            self._ledger.end_rest(request, state, reason)
            if ending is RequestState.INTERRUPTED and request.files and not tally[FileState.CANCELLED]:
                ending, reason = RequestState.DONE, None
        elif tally[FileState.FAILED] and not tally[FileState.DONE]:
            ending, reason = RequestState.FAILED, _all_failed(request)
        else:
            ending, reason = RequestState.DONE, None
        self._leave(app, slot, request)
        self._ledger.end_request(request, ending, reason)

    def _leave(self, app: App, slot: Slot, request: Request) -> None:
        """It is in no slot now; all its files that have not ended wait."""
        request.put_back(list(request.given))
        slot.load -= request.weight
        slot.current = None
        slot.trouble = False
        request.restored = False
        self._ledger.deadlines.clear((app.instance_id, slot.stream_id))
        self._ledger.deadlines.clear((app.instance_id, slot.stream_id, trials.KEY))
        self._ledger.note_slot(app, slot)
        self._ledger.note_request(request)


def _all_failed(request: Request) -> str:
    """With why: mostly it is the same of all."""
    errors = [file.error for file in request.files.values() if file.error is not None]
    if not errors:
        return "every file failed"
    return f"every file failed, the last one: {errors[-1]}" if len(request.files) > 1 else errors[-1]
