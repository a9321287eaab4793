"""Which file an app died of, where it had several in hand: they are tried one at a time.

All of them are charged with the death. Then nothing is begun beside one of them until the app has got past
the place where it died, the file has ended, or it does not get on. So a file that kills its app does so alone
from then on, and is charged alone. Whatever gets past its place, alone or not, has its charge taken back.
A stream, and what was just begun, is past it with the first frame; streams come first.
"""

from siwatsystem.deepstream.apps import App, Slot
from siwatsystem.deepstream.ledger import Ledger
from siwatsystem.deepstream.requests import File, Request, Trial
from siwatsystem.deepstream.states import Stage

KEY = "trial"
"""Ends the key of the deadline until which something is tried alone; app and slot come before."""
WAITS = "it waits: "
"""What the reason of a request that is held back begins with."""


def charged(app: App, only: frozenset[str] | None = None) -> list[Request]:
    """What the app may have died of: all that it had in hand, but where something is tried alone not what has
    passed its own trial. `only`: no others (their ids)."""
    busy = [slot.current for slot in app.slots if slot.current is not None]
    busy = [request for request in busy if (only is None or request.id in only) and _in_hand(request)]
    if not any(request.trial is not None and request.trial.alone for request in busy):
        return busy
    return [request for request in busy if request.proved != request.attempt]


def _in_hand(request: Request) -> bool:
    """Whether the app has something of it to die of; one that waits for files may have none. Of what was read
    from the disk nobody knows."""
    if request.stage is Stage.ASKED or request.restored or request.kind == "videostream":
        return True
    return request.suspect is not None


def begin(request: Request, *, shared: bool) -> None:
    """Its app has died, maybe of it; `shared`: or of something else that it had in hand."""
    file, before = request.suspect, request.trial
    shared = shared or (before is not None and before.shared)
    if file is None:
        request.trial = Trial(None)
    elif before is not None and before.file is file:  # it may not have come as far this time
        request.trial = Trial(file, max(before.frame, file.frame), max(before.percent, file.percent))
    else:
        request.trial = Trial(file, file.frame, file.percent)
    request.trial.shared = shared


def tried(app: App) -> Request | None:
    """What is tried alone now."""
    for slot in app.slots:
        request = slot.current
        if request is not None and request.trial is not None and request.trial.alone:
            return request
    return None


def rank(request: Request) -> tuple[bool, bool]:
    """What sorts first is begun first: what is to be tried, and of that streams."""
    return request.trial is None, request.trial is not None and request.kind != "videostream"


def held_by(app: App, request: Request) -> Request | None:
    """What `request` has to wait for: the one that is tried, or is to be tried before it."""
    if (now := tried(app)) is not None:
        return now
    heads = [slot.line.first for slot in app.slots if slot.current is None]
    first = min([request, *(head for head in heads if head is not None)], key=rank)
    return None if first is request else first


def first_frame(ledger: Ledger, request: Request) -> None:
    """The app has analysed a frame of it."""
    if request.trial is not None and request.trial.file is None:
        _over(ledger, request)


def told(ledger: Ledger, request: Request, file: File) -> None:
    """The app has told anew where it is in a file."""
    trial = request.trial
    if trial is None or trial.file is not file or not trial.passed(file):
        return
    if not trial.shared:  # nothing else can have been to blame
        request.trial = None
        return
    if file.attempts and file.spared < ledger.limits.file_trials:
        file.spared += 1
        file.attempts -= 1
        ledger.note_file(request, file)
    _over(ledger, request)


def _over(ledger: Ledger, request: Request) -> None:
    request.trial, request.proved = None, request.attempt
    if request.fruitless:
        request.fruitless -= 1
        ledger.note_request(request)


def due(ledger: Ledger, slot: Slot) -> float | None:
    """The deadline of `KEY` has passed: when the next one is, as what is tried gets on. None: it was alone
    for long enough, others may be begun beside it."""
    request, limits = slot.current, ledger.limits
    if request is None or request.trial is None:
        return None
    at = min(request.moved_at + limits.trial_sec, request.trial.since + limits.trial_most_sec)
    if at > ledger.now:
        return at
    request.trial.alone = False
    return None
