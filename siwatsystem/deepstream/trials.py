"""Which file an app died of, where it had several in hand: they are tried one at a time.

All of them are charged with the death. Then nothing is begun beside one of them until the app has got past
the place where it died, or the file has ended: that takes the charge back. So a file that kills its app does
so alone from then on, and takes none of another slot along. A stream is past it with its first frame, and
comes before files.
"""

from siwatsystem.deepstream.apps import App
from siwatsystem.deepstream.ledger import Ledger
from siwatsystem.deepstream.requests import File, Request, Trial


def charged(app: App, only: frozenset[str] | None = None) -> list[Request]:
    """What the app may have died of: what is tried, else all that it had. `only`: no others (their ids)."""
    busy = [slot.current for slot in app.slots if slot.current is not None]
    busy = [request for request in busy if only is None or request.id in only]
    return [request for request in busy if request.trial is not None] or busy


def begin(request: Request) -> None:
    """Its app has died, and not surely of something else."""
    file = request.suspect
    if file is not None:
        request.trial = Trial(file, file.frame, file.percent)
    elif request.kind == "videostream":
        request.trial = Trial(None)


def held_by(app: App, request: Request) -> Request | None:
    """What `request` has to wait for: the one that is tried, or is to be tried before it."""
    for slot in app.slots:
        if slot.current is not None and slot.current.trial is not None:
            return slot.current
    heads = [slot.line.first for slot in app.slots if slot.current is None]
    tried = [head for head in [request, *heads] if head is not None and head.trial is not None]
    tried.sort(key=lambda head: head.kind != "videostream")
    return None if not tried or tried[0] is request else tried[0]


def told(ledger: Ledger, request: Request, file: File) -> None:
    """The app has told anew where it is in a file."""
    trial = request.trial
    if trial is None or trial.file is not file or not trial.passed(file):
        return
    request.trial = None
    if file.attempts and file.spared < ledger.limits.file_attempts:
        file.spared += 1
        file.attempts -= 1
        request.fruitless = max(0, request.fruitless - 1)
        ledger.note_file(request, file)
        ledger.note_request(request)
