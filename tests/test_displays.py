import pytest

from siwatsystem import displays
from siwatsystem.displays import Displays, merge
from siwatsystem.errors import InvalidMessage


def test_the_last_writer_wins_and_null_ends():
    known = Displays()
    known.set_session("d", 1)
    known.set_session("d", "two")
    assert known.session_of("d") == "two"
    known.set_session("d", None)
    assert known.session_of("d") is None
    assert known.session_of("e") is None


def test_a_patch_merges_deeply():
    known = Displays()
    known.patch(1, {"currentCar": {"carBrand": "Aster", "carYear": 2020}, "qrCode": "x"})
    merged = known.patch(1, {"currentCar": {"carBrand": None}, "fuelPump": {"n": 1}, "qrCode": ["y"]})
    assert merged == {
        "currentCar": {"carBrand": None, "carYear": 2020},
        "fuelPump": {"n": 1},
        "qrCode": ["y"],
    }
    assert known.data(1) == merged
    assert known.data(2) == {}


def test_merging_changes_neither_side():
    old, new = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merge(old, new) == {"a": {"b": 1, "c": 2}}
    assert (old, new) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_a_session_that_grows_too_large_is_refused_and_stays_as_it_was():
    known = Displays()
    known.patch(1, {"a": 1})
    with pytest.raises(InvalidMessage, match="64 KiB"):
        known.patch(1, {"b": "x" * 70_000})
    assert known.data(1) == {"a": 1}


def test_sessions_that_are_never_ended_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(displays, "MAX_SESSIONS", 3)
    monkeypatch.setattr(displays, "MAX_DISPLAYS", 3)
    known = Displays()
    for number in range(5):
        known.patch(number, {"n": number})
        known.set_session(f"d{number}", number)
    assert [known.data(number) for number in range(5)] == [{}, {}, {"n": 2}, {"n": 3}, {"n": 4}]
    assert known.session_of("d1") is None
    assert known.session_of("d2") == 2
