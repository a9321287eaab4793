"""How the worker is in one sentence, and what to do; and the list of all that is wrong. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from siwatsystem.hints import EMBEDDED_AWAY, HINTS, NO_BACKEND, SEVERAL_AWAY
from siwatsystem.overview.cameras import CameraState, Trouble

Tone = Literal["good", "warn", "bad", "accent"]

NOTICEABLE = 0.1
"""Share of the frames that overload drops, from which on it is told."""
AWAY = frozenset({"stream_lost", "stream_unreachable"})
"""What a camera's own fault looks like, and one of something that many cameras share."""

EMBEDDED = ("embedded redis ", "embedded postgresql ")
"""What the outbox calls the worker's own servers."""


@dataclass(frozen=True, slots=True)
class Headline:
    """`todo` is empty where there is nothing to do; `since`: seconds since 1970, where it is told."""

    tone: Tone
    text: str
    todo: str = ""
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of failure and whom it concerns (nobody: the whole worker)."""

    code: str
    message: str
    hint: str
    cameras: tuple[str, ...] = ()
    since: float | None = None


def problems(
    cameras: Sequence[CameraState],
    outbox: Mapping[str, Any],
    failed: Sequence[str],
    gone: float | None = None,
) -> list[Problem]:
    """What is wrong: parts that failed, then the backend (`gone`: since when it is), then the outbox, then
    cameras, each text once."""
    found = [Problem("internal_error", text, HINTS["internal_error"]) for text in failed]
    if gone is not None:
        found.append(Problem("no_backend", "No backend is connected", NO_BACKEND, since=gone))
    found += [Problem("action_failed", text, _of_actions(text)) for text in outbox["degraded"]]
    of_trouble: dict[Trouble, list[str]] = {}
    for camera in cameras:
        if camera.trouble is not None:
            of_trouble.setdefault(camera.trouble, []).append(camera.id)
    away = sum(len(ids) for trouble, ids in of_trouble.items() if trouble.code in AWAY)
    several = away > 1 and 2 * away > len(cameras)
    found += [
        Problem(
            trouble.code,
            trouble.message,
            SEVERAL_AWAY if several and trouble.code in AWAY else trouble.hint,
            tuple(ids),
        )
        for trouble, ids in of_trouble.items()
    ]
    slow = [camera.id for camera in cameras if drops(camera)]
    if slow:
        text = f"{counted(len(slow), 'camera')} cannot be analysed as often as wanted: frames are dropped"
        found.append(Problem("overloaded", text, HINTS["overloaded"], tuple(slow)))
    return found


def _of_actions(text: str) -> str:
    is_away = text.startswith(EMBEDDED) and " is away: " in text
    return EMBEDDED_AWAY if is_away else HINTS["action_failed"]


def headline(cameras: Sequence[CameraState], found: Sequence[Problem]) -> Headline:
    """The one line on top, the worst first."""
    if not cameras:
        return _of_worker(found[0], "bad") if found else Headline("accent", "No camera is subscribed")
    offline = [camera for camera in cameras if not camera.online]
    loading = [camera for camera in offline if camera.trouble is None and camera.model_state == "loading"]
    opening = [camera for camera in offline if camera.trouble is None and camera not in loading]
    down = [camera for camera in offline if camera.trouble is not None]
    total = len(cameras)
    if down:
        first = next(problem for problem in found if problem.cameras and down[0].id in problem.cameras)
        return Headline("bad", _of_all(len(down), total, "offline"), first.hint)
    worse = [problem for problem in found if problem.code != "overloaded"]
    if worse:
        return _of_worker(worse[0], "bad" if worse[0].code == "internal_error" else "warn")
    if loading:
        return Headline(
            "accent",
            f"{counted(len({camera.model_id for camera in loading}), 'model')} being prepared",
            "The first time this takes minutes; nothing needs to be done.",
        )
    if opening:
        return Headline("accent", f"{counted(len(opening), 'camera')} being opened", "It takes some seconds.")
    if found:
        return Headline("warn", found[0].message, found[0].hint)
    return Headline("good", "The camera is fine" if total == 1 else f"All {total} cameras are fine")


def _of_worker(problem: Problem, tone: Tone) -> Headline:
    tone = "warn" if problem.code == "no_backend" else tone
    return Headline(tone, problem.message, problem.hint, problem.since)


def drops(camera: CameraState) -> bool:
    """Whether overload takes a noticeable part of a camera's frames."""
    dropped, analysed = camera.dropped_rate or 0.0, camera.analysed_rate or 0.0
    return dropped > NOTICEABLE * (dropped + analysed)


def counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _of_all(count: int, total: int, how: str) -> str:
    if total == 1:
        return f"The camera is {how}"
    if count == total:
        return f"All {total} cameras are {how}"
    return f"{count} of {total} cameras {'is' if count == 1 else 'are'} {how}"
