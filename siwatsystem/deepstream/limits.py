"""Bounds and deadlines of the state core. Times are seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    ready_sec: float = 120.0
    """From a launch to `app_ready`."""
    reconnect_sec: float = 60.0
    """How long an app may be without a connection; after a restart of the server, too."""
    answer_sec: float = 30.0
    """For the answer to a start, an interrupt or a status query, and from the last file to the end."""
    stop_sec: float = 10.0
    """From `terminate_app` to SIGTERM."""
    term_sec: float = 10.0
    """From SIGTERM to SIGKILL."""
    kill_sec: float = 5.0
    """From SIGKILL until the app is held to be gone, whatever anybody saw."""
    progress_sec: float = 1800.0
    """How long an app may have files in hand without getting on with any, before it is asked about them."""
    restarts: int = 5
    """Of an app that died, within the window; then it is given up."""
    restart_window_sec: float = 600.0
    backoff_sec: float = 1.0
    """Before the first restart; each further one waits twice as long."""
    backoff_max_sec: float = 60.0
    push_window: int = 64
    """Files of a request that an app has in hand at most; what comes after waits with the server."""
    file_attempts: int = 3
    """How often an app may die of a file, or leave it out, before the file has failed."""
    file_trials: int = 10
    """How often one of those attempts is taken back, because its app has got past that place since."""
    trial_sec: float = 30.0
    """How long nothing is begun beside what an app may have died of, while it does not get on."""
    trial_most_sec: float = 600.0
    """And while it does."""
    request_attempts: int = 3
    """How often in a row a request may come back from an app without any progress, before it has failed."""
    max_requests: int = 50_000
    """That have not ended."""
    max_files: int = 200_000
    """That have not ended."""
    request_files: int = 20_000
    """Of one request, those that have ended too: they are kept until it ends, here and in its app."""
    kept_requests: int = 1_000
    """That have ended and can still be asked for."""
    kept_files: int = 100_000
    """Of those."""
    answers: int = 10_000
    """Remembered for commands that are sent again."""
    changes: int = 10_000
    """Kept for clients that resume."""
    told_files: int = 500
    """Of a request, that one event changes, before it is only told that many have changed."""
    log_lines: int = 50
    """Last lines of an app that died."""
