"""Wrong tokens, by value: a guesser is held up, an operator is not."""

import pytest

from siwatsystem import guesses
from siwatsystem.guesses import BURST, Guesses

HERE, THERE = "192.0.2.1", "192.0.2.2"


def tries(found: Guesses, address: str, seconds: float, per_sec: int, begin: float = 0.0) -> int:
    """How many of a flood of different tokens are compared."""
    compared = 0
    for number in range(int(seconds * per_sec)):
        now, token = begin + number / per_sec, f"{address}-{begin}-{number}"
        if found.may(address, token, now):
            compared += 1
            found.wrong(address, token, now)
    return compared


def test_a_flood_of_guesses_is_compared_once_a_second():
    assert tries(Guesses(), HERE, seconds=100, per_sec=50) == pytest.approx(BURST + 100, abs=2)


def test_other_addresses_do_not_notice():
    found = Guesses()
    tries(found, HERE, seconds=10.5, per_sec=1000)
    assert not found.may(HERE, "right", 10.5)
    assert found.may(THERE, "right", 10.5)


def test_an_address_is_free_a_second_after_the_flood():
    found = Guesses()
    tries(found, HERE, seconds=1000, per_sec=10)
    assert found.may(HERE, "right", 1001.1)


def test_a_program_with_a_token_of_yesterday_costs_the_others_nothing():
    found = Guesses()
    for number in range(10_000):
        assert found.may(HERE, "of yesterday", number / 1000)
        found.wrong(HERE, "of yesterday", number / 1000)
    assert found.may(HERE, "right", 10.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_whom_an_address_stands_for(one: str, other: str, same: bool):
    found = Guesses()
    tries(found, one, seconds=0.5, per_sec=200)
    assert found.may(other, "right", 0.5) is not same


def test_a_flood_is_told_once_a_minute_and_none_is_missing():
    found, told = Guesses(), list[int]()
    for number in range(1500):
        now = number / 10
        if found.may(HERE, str(number), now):
            found.wrong(HERE, str(number), now)
        told.append(found.refused(HERE, now))
    assert [count for count in told if count] == [1, 600, 600]
    found.wrong(THERE, "other", 150.0)
    assert found.refused(THERE, 150.0) == 1


def test_memory_is_bounded_and_no_token_is_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guesses, "MOST", 50)
    found = Guesses()
    for number in range(500):
        found.wrong(f"10.0.{number // 250}.{number % 250}", "secret-guess", 1.0)
    held = vars(found)["_found"]
    assert len(held) == 50
    assert "secret-guess" not in repr(held)
