"""One answer per question, however many ask."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from siwatsystem.detections import Classification
from siwatsystem.pipeline.memo import PredictionMemo

ANSWER = Classification("Honda", 0.9)


def test_who_asks_second_waits_for_who_asked_first() -> None:
    memo, made, go = PredictionMemo(), [], threading.Event()

    def make() -> Classification:
        made.append(1)
        go.wait(30)
        return ANSWER

    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(memo.get, "key", make) for _ in range(4)]
        go.set()
        assert [one.result(30) for one in asked] == [ANSWER] * 4
    assert made == [1]


def test_another_question_gets_another_answer() -> None:
    memo = PredictionMemo()
    assert memo.get("a", lambda: ANSWER) is ANSWER
    assert memo.get("b", lambda: ()) == ()


def test_a_failure_is_everybodys() -> None:
    memo, made = PredictionMemo(), []

    def make() -> Classification:
        made.append(1)
        raise RuntimeError("no")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="no"):
            memo.get("key", make)
    assert made == [1]
