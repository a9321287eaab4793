"""The states of apps, requests and files. `wire_states` says them in the contract's words."""

from enum import StrEnum


class AppState(StrEnum):
    STARTING = "starting"
    """Launched; it has not said `app_ready` yet."""
    RUNNING = "running"
    """It said `app_ready` and that was right; its connection may be away for a while."""
    STOPPING = "stopping"
    """Asked to end, or made to."""
    EXITED = "exited"
    """Ended as it was asked to, or by itself without work; also: registered and not connected yet."""
    CRASHED = "crashed"
    """Died too often, or could not be launched: given up until somebody launches it again."""
    BACKOFF = "backoff"
    """Died; it is launched again in a moment."""


LIVE = frozenset({AppState.STARTING, AppState.RUNNING, AppState.STOPPING, AppState.BACKOFF})
"""They hold GPUs and slots, or will in a moment."""


class RequestState(StrEnum):
    QUEUED = "queued"
    """Waits for a slot, or for its first frame: accepted is not running."""
    RUNNING = "running"
    """A frame was analysed."""
    DONE = "done"
    """All its files have ended, at least one of them well."""
    FAILED = "failed"
    """Refused, or every file failed."""
    INTERRUPTED = "interrupted"
    """Ended before its time by a client; files that were not done are cancelled."""


ENDED = frozenset({RequestState.DONE, RequestState.FAILED, RequestState.INTERRUPTED})


class Stage(StrEnum):
    """How far a request has come with an app."""

    LINE = "line"
    """It waits in a line; no app knows of it."""
    ASKED = "asked"
    """`start_analysis` was sent."""
    ACCEPTED = "accepted"
    """The app said `analysis_started`; files are pushed."""
    INTERRUPTING = "interrupting"
    """`interrupt_analysis` was sent."""
    OVER = "over"


class FileState(StrEnum):
    WAITING = "queued"
    """With the server."""
    GIVEN = "given"
    """Pushed to the app; to clients it is still queued."""
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = frozenset({FileState.DONE, FileState.FAILED, FileState.CANCELLED})
