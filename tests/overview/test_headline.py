"""How the worker is in one sentence."""

from dataclasses import replace

import pytest

from siwatsystem.actions.targets import postgresql_target, redis_target
from siwatsystem.errors import ModelRefused, StreamLost, StreamUnreachable
from siwatsystem.hints import EMBEDDED_AWAY, HINTS, NO_BACKEND, SEVERAL_AWAY
from siwatsystem.overview.cameras import CameraState, Trouble
from siwatsystem.overview.headline import Headline, headline, problems

FINE = CameraState(
    id="display;camera",
    model="Cars",
    model_id=1,
    model_state="ready",
    precision="exact",
    online=True,
    delivers=True,
    age=0.1,
    analysed=10,
    dropped=0,
    analysed_rate=2.0,
    dropped_rate=0.0,
    delay=0.1,
    session=None,
    size=(640, 360),
    zones=(),
    trouble=None,
    test=False,
    held=True,
)
LOADING = replace(FINE, id="d;loading", online=False, model_state="loading")
OPENING = replace(FINE, id="d;opening", online=False, delivers=False, age=None)
DOWN = replace(
    FINE, id="d;down", online=False, delivers=False, trouble=Trouble.of(StreamUnreachable("no route"))
)
REFUSED = replace(DOWN, id="d;refused", model_state="failed", trouble=Trouble.of(ModelRefused("a pickle")))
SLOW = replace(FINE, id="d;slow", analysed_rate=1.0, dropped_rate=1.0)


def told(
    *cameras: CameraState,
    degraded: tuple[str, ...] = (),
    failed: tuple[str, ...] = (),
    gone: float | None = None,
) -> Headline:
    return headline(cameras, problems(cameras, {"degraded": degraded}, failed, gone))


def test_all_is_well():
    assert told(FINE) == Headline("good", "The camera is fine")
    assert told(*[FINE] * 12) == Headline("good", "All 12 cameras are fine")
    assert told().tone == "accent"


@pytest.mark.parametrize(
    ("cameras", "text", "code"),
    [
        ([FINE, FINE, DOWN], "1 of 3 cameras is offline", "stream_unreachable"),
        ([FINE, DOWN, REFUSED], "2 of 3 cameras are offline", "stream_unreachable"),
        ([REFUSED], "The camera is offline", "model_refused"),
        ([DOWN], "The camera is offline", "stream_unreachable"),
        ([FINE, FINE, DOWN, DOWN], "2 of 4 cameras are offline", "stream_unreachable"),
        ([REFUSED, REFUSED], "All 2 cameras are offline", "model_refused"),
        ([LOADING, DOWN, SLOW], "1 of 3 cameras is offline", "stream_unreachable"),
    ],
)
def test_cameras_that_are_down_come_first(cameras: list[CameraState], text: str, code: str):
    assert told(*cameras, degraded=("redis is away",)) == Headline("bad", text, HINTS[code])  # type: ignore[index]


LOST = replace(DOWN, id="d;lost", trouble=Trouble.of(StreamLost("no new frame for 5 s")))


@pytest.mark.parametrize("cameras", [[DOWN, LOST], [DOWN, LOST, DOWN, FINE, FINE], [REFUSED, *[LOST] * 4]])
def test_of_most_cameras_the_advice_is_what_they_share(cameras: list[CameraState]):
    found = problems(cameras, {"degraded": ()}, ())
    hints = {problem.code: problem.hint for problem in found}
    assert {hints["stream_lost"], hints.get("stream_unreachable", SEVERAL_AWAY)} == {SEVERAL_AWAY}
    assert hints.get("model_refused") in (None, HINTS["model_refused"])
    assert "switch" in SEVERAL_AWAY
    assert HINTS["stream_lost"] not in (problem.hint for problem in found)


def test_a_backend_that_has_gone_is_told():
    gone = Headline("warn", "No backend is connected", NO_BACKEND, 1000.0)
    assert told(gone=1000.0) == told(FINE, gone=1000.0) == told(degraded=("disk",), gone=1000.0) == gone
    assert told(FINE, DOWN, gone=1000.0).text == "1 of 2 cameras is offline"
    assert told(failed=("it hangs",), gone=1000.0).text == "it hangs"
    codes = [one.code for one in problems([DOWN], {"degraded": ()}, (), 1.0)]
    assert codes == ["no_backend", "stream_unreachable"]


def test_then_what_concerns_the_whole_worker():
    away = told(FINE, LOADING, degraded=("redis at r:6379 is away",))
    assert away == Headline("warn", "redis at r:6379 is away", HINTS["action_failed"])
    failed = told(FINE, degraded=("redis at r:6379 is away",), failed=("reader cam has failed: hangs",))
    assert (failed.tone, failed.text) == ("bad", "reader cam has failed: hangs")
    assert told(failed=("it hangs",)).tone == "bad"


@pytest.mark.parametrize("config", ["redis", "postgresql"])
def test_a_server_of_the_worker_itself_is_for_nobody_to_check(config: str):
    target = redis_target("embedded") if config == "redis" else postgresql_target("embedded")
    assert told(FINE, degraded=(f"{target.place} is away: it has ended",)).todo == EMBEDDED_AWAY
    refused = f"{target.place} refuses cars (no such column)"
    for text in (refused, "redis at embedded:6379 is away: refused", "postgresql at h:1/d is away: x"):
        assert told(FINE, degraded=(text,)).todo == HINTS["action_failed"]


def test_then_what_passes_by_itself():
    assert told(FINE, LOADING, LOADING, OPENING).text == "1 model being prepared"
    assert told(FINE, OPENING, OPENING, SLOW).text == "2 cameras being opened"


def test_overload_is_told_once_it_is_noticeable():
    slow = told(FINE, SLOW)
    assert (slow.tone, slow.todo) == ("warn", HINTS["overloaded"])
    barely = replace(SLOW, analysed_rate=2.0, dropped_rate=0.1)
    assert told(FINE, barely).tone == "good"
    assert told(replace(FINE, analysed_rate=None, dropped_rate=None)).tone == "good"


def test_one_text_for_all_whom_it_concerns():
    found = problems([DOWN, replace(DOWN, id="d;too"), REFUSED, FINE], {"degraded": ["disk"]}, ["part"])
    assert [(one.code, one.cameras) for one in found] == [
        ("internal_error", ()),
        ("action_failed", ()),
        ("stream_unreachable", ("d;down", "d;too")),
        ("model_refused", ("d;refused",)),
    ]
