"""Whether an app gets on with the files that it has in hand: a decoder may hang for ever.

Anything counts: a file begun or ended, another frame or percentage. An app that never tells frames is asked
what it does, but not ended: a long file may take hours without a word.
"""

from siwatsystem.deepstream.apps import App, Slot
from siwatsystem.deepstream.ledger import Ledger
from siwatsystem.deepstream.lifecycle import Lifecycle
from siwatsystem.deepstream.placing import Placing
from siwatsystem.deepstream.requests import Request
from siwatsystem.deepstream.states import Stage
from siwatsystem.deepstream.synchronising import Synchronising


class Progress:
    def __init__(self, ledger: Ledger, placing: Placing, lifecycle: Lifecycle, sync: Synchronising) -> None:
        self._ledger = ledger
        self._placing = placing
        self._lifecycle = lifecycle
        self._sync = sync

    def due(self, app: App, slot: Slot, request: Request) -> None:
        """The deadline of `Placing.watch` has passed. What is current was accepted, and is not at its end."""
        now = self._ledger.now
        if request.doubted and app.tells_frames:
            seconds = self._ledger.limits.progress_sec
            reason = f"it got no further with {self._where(request)} for {seconds:g} s"
            self._lifecycle.distrust(app, reason, self._culprits(app))
            return
        if request.doubted or not request.given:
            request.moved(now)
        elif self._is_late(request):
            request.doubted = True
            self._sync.ask(app)
        self._placing.watch(app, slot)

    def _is_late(self, request: Request) -> bool:
        return self._ledger.now - request.moved_at >= self._ledger.limits.progress_sec

    def _culprits(self, app: App) -> frozenset[str]:
        """Whatever hangs: a device that does takes all slots along."""
        current = [slot.current for slot in app.slots if slot.current is not None]
        return frozenset(
            request.id
            for request in current
            if request.stage is Stage.ACCEPTED and request.given and self._is_late(request)
        )

    def _where(self, request: Request) -> str:
        suspect = request.suspect
        at = "" if suspect is None else f"file {suspect.id} of "
        return f"{at}request {request.id}"
