"""Each defect of a worker fails the check that is there for it, and no other."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from siwatsystem.conformance import running
from siwatsystem.conformance.kit import Kit, Options
from siwatsystem.conformance.outcomes import Check, Outcome
from tests.fake_worker import DEFECTS, GRACE_SEC, fake_worker

OPTIONS = Options(patience=40, grace=GRACE_SEC, slack=3)
SHORT = Options(patience=40, grace=GRACE_SEC, slack=1.5)
"""For checks that fail, and take as long as their limits for it."""
AT_A_TIME = 8
WRONG_MESSAGES = [
    f"messages.{name}"
    for name in (
        "not-json",
        "binary",
        "not-an-object",
        "no-type",
        "unknown-type",
        "missing-field",
        "wrong-kind",
        "no-payload",
    )
]
FAILS: dict[str, list[str]] = {
    "accepts bad crops": ["subscribe.bad-crops"],
    "analyses old frames": ["overload.newest-frames"],
    "blocks on slow readers": ["overload.slow-reader"],
    "closes on invalid JSON": ["messages.not-json", "messages.binary"],
    "closes on unknown types": ["messages.unknown-type"],
    "confuses model names": ["subscribe.acknowledged", "subscribe.replaced"],
    "downloads again": ["sharing.archive"],
    "image ignores crop": ["image.crop"],
    "image of anything": ["image.unknown"],
    "keeps cameras open": ["subscribe.other-camera", "unsubscribe.camera-left", "connections.grace-ends"],
    "knows no error": [],
    "late heartbeat": ["state.heartbeat"],
    "local time": ["subscribe.timestamp"],
    "no acknowledgement": ["subscribe.acknowledged"],
    "no answer to patches": ["session.patch-answered"],
    "no answer to requestState": ["state.request"],
    "no grace": ["session.patch-sent", "connections.warm"],
    "no heartbeat": ["state.heartbeat"],
    "no memory usage": ["fields.stateReport"],
    "no patches": ["session.patch-sent"],
    "no report at once": ["state.at-once"],
    "no session ids": [],
    "odd shapes": [
        "session.patch-answered",
        "subscribe.detections",
        "overload.newest-frames",
        "fields.imageDetection",
        "fields.patchSessionResult",
    ],
    "patches once": ["session.patch-repeated"],
    "prefers video": ["subscribe.snapshot"],
    "reopens cameras": ["subscribe.replaced", "connections.taken-over", "connections.warm"],
    "serves the first only": ["overload.fair-shares"],
    "shows all to all": ["connections.own-subscriptions", "connections.taken-over"],
    "timestamp without milliseconds": ["fields.imageDetection"],
    "two connections a camera": ["sharing.one-connection", "sharing.snapshots"],
    "unsubscribe ignored": ["unsubscribe.holds-at-once", "unsubscribe.camera-left", "sharing.one-leaves"],
    "wrong crop": ["subscribe.crop"],
    "wrong errors": WRONG_MESSAGES,
}
"""What fails by each defect, of all checks; the shorter lists are what only that check can see."""
NOTED: dict[str, list[str]] = {
    "image ignores crop": ["image.options"],
    "knows no error": [*WRONG_MESSAGES, "subscribe.bad-crops", "unsubscribe.unknown", "fields.error"],
    "no session ids": ["session.in-detections"],
    "odd shapes": ["subscribe.crop"],
}
NEEDED = {
    "fields.stateReport": ["state.at-once"],
    "fields.imageDetection": ["subscribe.detections"],
}
"""Checks whose messages others look at."""


def outcomes(defect: str, options: Options, only: Sequence[str] = ()) -> list[Outcome]:
    with fake_worker(*([defect] if defect else [])) as worker:
        return running.run(worker.url, running.chosen(only), options=options)


def named(found: Sequence[Outcome], status: str) -> dict[str, str]:
    return {outcome.check.name: outcome.came for outcome in found if outcome.status == status}


def test_every_defect_has_its_checks():
    assert set(FAILS) == DEFECTS
    names = {check.name for check in running.CHECKS}
    assert {name for lists in (*FAILS.values(), *NOTED.values()) for name in lists} <= names


def test_defects_are_seen_by_the_checks_that_are_there_for_them():
    """All of them, but only the checks that concern each: the whole matrix takes minutes."""

    def run(defect: str) -> tuple[str, list[Outcome]]:
        wanted = FAILS[defect] + NOTED.get(defect, [])
        needed = [more for one in wanted for more in NEEDED.get(one, [])]
        return defect, outcomes(defect, SHORT, [*wanted, *needed])

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for defect, found in pool.map(run, sorted(FAILS)):
            assert set(named(found, "failed")) == set(FAILS[defect]), (defect, named(found, "failed"))
            assert set(named(found, "noted")) == set(NOTED.get(defect, [])), (defect, named(found, "noted"))


def test_a_check_that_stumbles_is_a_failed_one():
    async def stumble(_: Kit) -> None:
        raise KeyError("surprise")

    check = Check("state.odd", "something", "something", stumble)
    with fake_worker() as worker:
        (found,) = running.run(worker.url, [check], options=SHORT)
    assert found.status == "failed"
    assert "KeyError" in found.came


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("defect", ["", *sorted(FAILS)])
def test_no_other_check_fails(defect: str):
    found = outcomes(defect, OPTIONS)
    assert set(named(found, "failed")) == set(FAILS.get(defect, [])), named(found, "failed")
    assert set(named(found, "noted")) == set(NOTED.get(defect, [])), named(found, "noted")
