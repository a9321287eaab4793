"""The last minutes of a few figures."""

import pytest

from siwatsystem.overview.history import History, Rates


def test_nothing_was_sampled_yet():
    history = History(("a",))
    assert history.as_dict() == {"at": [], "a": []}
    assert history.newest("a") is None


def test_what_is_not_known_is_told_as_such():
    history = History(("a", "b"))
    history.add(1.0, a=2.0, b=None)
    history.add(2.0, a=None, b=0.5)
    assert history.as_dict() == {"at": [1.0, 2.0], "a": [2.0, None], "b": [None, 0.5]}
    assert (history.newest("a"), history.newest("b")) == (None, 0.5)


def test_the_oldest_make_room():
    history = History(("a",), kept=3)
    for at in range(8):
        history.add(float(at), a=10.0 * at)
    assert history.as_dict() == {"at": [5.0, 6.0, 7.0], "a": [50.0, 60.0, 70.0]}


def test_the_mean_of_the_newest():
    history = History(("a",), kept=4)
    assert history.lately("a", 3) is None
    for at, value in enumerate((9.0, 1.0, None, 2.0, 3.0)):
        history.add(float(at), a=value)
    assert history.lately("a", 1) == 3.0
    assert history.lately("a", 3) == 2.5
    assert history.lately("a", 99) == 2.0
    history.add(6.0, a=None)
    assert history.lately("a", 1) is None


def test_a_figure_cannot_be_left_out():
    with pytest.raises(KeyError):
        History(("a", "b")).add(1.0, a=1.0)


def test_how_fast_a_counter_grows():
    rates = Rates()
    assert rates.rate(10, 100.0) is None
    assert rates.rate(20, 105.0) == 2.0
    assert rates.rate(20, 110.0) == 0.0
    assert rates.rate(3, 115.0) is None  # it began anew
    assert rates.rate(8, 120.0) == 1.0
