"""Logins of browsers, by value."""

from siwatsystem import logins
from siwatsystem.logins import Logins


def test_a_login_lasts_while_it_is_used():
    found = Logins(keep_sec=10)
    name = found.begin("view", 0.0)
    assert [found.role(name, at) for at in (9.0, 18.0, 27.0)] == ["view"] * 3
    assert found.role(name, 37.1) is None
    assert found.role(name, 37.2) is None


def test_names_are_long_and_of_no_use_once_ended():
    found = Logins(keep_sec=10)
    one, other = found.begin("view", 0.0), found.begin("control", 0.0)
    assert one != other
    assert len(one) >= 43
    found.end(one)
    found.end("no such name")
    assert (found.role(one, 1.0), found.role(other, 1.0)) == (None, "control")
    assert found.role(None, 1.0) is None
    assert found.role("", 1.0) is None


def test_beyond_the_most_the_one_used_longest_ago_ends():
    found = Logins(keep_sec=10)
    first, second = found.begin("view", 0.0), found.begin("view", 0.0)
    assert found.role(first, 1.0) == "view"
    for _ in range(logins.MOST - 1):
        found.begin("view", 2.0)
    assert found.role(second, 3.0) is None
    assert found.role(first, 3.0) == "view"
