"""What is remembered of models that were tried, by value."""

import threading
import time
from pathlib import Path

import pytest

from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime import verdicts
from siwatsystem.runtime.verdicts import FIRST_REST_SEC, LONGEST_REST_SEC, Verdicts


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        monkeypatch.setattr(verdicts.time, "time", lambda: self.now)


def test_a_failure_rests_longer_each_time_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock, kept = Clock(monkeypatch), Verdicts(tmp_path)
    for rest in (FIRST_REST_SEC, 2 * FIRST_REST_SEC, 4 * FIRST_REST_SEC, *[None] * 9, LONGEST_REST_SEC):
        kept.keep_failed(["key"], "it crashed")
        if rest is None:
            continue
        clock.now += rest - 1
        with pytest.raises(ModelInvalid, match="it crashed; it is not tried again for 1 s"):
            kept.passed(["key"])
        clock.now += 2
        assert not kept.passed(["key"])
    kept.keep_passed(["key"])
    assert kept.passed(["key"])
    assert not kept.passed(["another key"])


def test_a_clock_that_was_set_back_ends_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock, kept = Clock(monkeypatch), Verdicts(tmp_path)
    kept.keep_failed(["key"], "it crashed")
    clock.now -= 3600
    assert not kept.passed(["key"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"passed": "yes"}',
        '{"message": 1, "failures": [], "at": 0}',
        '{"message": "m", "failures": 1e999, "at": 0}',
        '{"message": "m", "failures": 1, "at": NaN}',
        "[" * 100_000,
        "\x00\xff",
    ],
)
def test_garbage_means_that_it_is_not_known(tmp_path: Path, text: str):
    kept = Verdicts(tmp_path)
    kept.keep_passed(["key"])
    (file,) = tmp_path.iterdir()
    file.write_text(text, encoding="latin-1")
    assert not kept.passed(["key"])
    kept.keep_failed(["key"], "said")
    with pytest.raises(ModelInvalid, match="said"):
        kept.passed(["key"])


def test_there_are_only_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(verdicts, "MOST_KEPT", 5)
    kept = Verdicts(tmp_path)
    for number in range(9):
        kept.keep_passed([str(number)])
    assert len(list(tmp_path.iterdir())) == 5
    assert kept.passed(["8"])


def test_several_may_use_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(verdicts, "MOST_KEPT", 5)
    errors: list[BaseException] = []

    def use(name: str) -> None:
        try:
            kept = Verdicts(tmp_path)
            for number in range(100):
                kept.keep_passed([name, str(number)])
                kept.keep_failed(["both"], name)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use, args=(str(name),)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert not list(tmp_path.glob(".new-*"))
