import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siwatsystem import displays
from siwatsystem.displays import Displays, merge
from siwatsystem.errors import InvalidMessage


def test_a_display_is_in_the_session_that_was_written_last():
    found = Displays()
    assert found.session_of("d") is None
    found.set_session("d", 5)
    found.set_session("other", "six")
    found.set_session("d", "seven")
    assert found.session_of("d") == "seven"
    assert found.session_of("other") == "six"
    found.set_session("d", None)
    assert found.session_of("d") is None


def test_zero_and_empty_are_sessions():
    found = Displays()
    found.set_session("d", 0)
    assert found.session_of("d") == 0


def test_a_patch_is_merged_deeply():
    found = Displays()
    found.patch(5, {"currentCar": {"carBrand": "Honda", "bodyType": "Sedan"}, "qrCode": "a", "list": [1, 2]})
    merged = found.patch(
        5, {"currentCar": {"carBrand": None, "carYear": 2020}, "qrCode": {"x": 1}, "list": [3]}
    )
    assert merged == {
        "currentCar": {"carBrand": None, "bodyType": "Sedan", "carYear": 2020},
        "qrCode": {"x": 1},
        "list": [3],
    }
    assert found.data(5) == merged
    assert found.data(6) == {}


def test_a_session_is_the_same_as_number_and_text():
    found = Displays()
    found.patch(5, {"a": 1})
    assert found.patch("5", {"b": 2}) == {"a": 1, "b": 2}


def test_what_was_returned_can_be_changed_without_harm():
    found = Displays()
    found.patch(5, {"a": {"b": 1}})["a"]["b"] = 2
    found.data(5)["a"]["b"] = 3
    assert found.data(5) == {"a": {"b": 1}}


def test_too_large_a_session_stays_as_it_was():
    found = Displays()
    found.patch(5, {"a": "x" * 60_000})
    with pytest.raises(InvalidMessage, match="64 KiB"):
        found.patch(5, {"b": "x" * 6000})
    assert set(found.data(5)) == {"a"}
    found.patch(5, {"a": None})
    found.patch(5, {"b": "x" * 6000})


def test_the_oldest_sessions_are_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(displays, "MAX_SESSIONS", 3)
    found = Displays()
    for session in (1, 2, 3):
        found.patch(session, {"n": session})
    found.patch(1, {"again": True})
    found.patch(4, {"n": 4})
    assert found.data(2) == {}
    assert all(found.data(session) for session in (1, 3, 4))


def test_all_sessions_together_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(displays, "MAX_TOTAL_BYTES", 200_000)
    found = Displays()
    for session in range(20):
        found.patch(session, {"a": "x" * 50_000})
    assert [session for session in range(20) if found.data(session)] == [17, 18, 19]


def test_displays_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(displays, "MAX_DISPLAYS", 2)
    found = Displays()
    for display in "abc":
        found.set_session(display, 1)
    assert [found.session_of(display) for display in "abc"] == [None, 1, 1]


OBJECTS = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        st.none() | st.integers() | st.lists(st.integers(), max_size=2),
        lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        max_leaves=8,
    ),
)


@given(OBJECTS, OBJECTS, OBJECTS)
def test_merging_changes_nothing_that_was_given(a: Any, b: Any, c: Any):
    before = copy.deepcopy((a, b, c))
    assert merge(merge(a, b), b) == merge(a, b)
    assert merge({}, a) == a
    assert merge(a, {}) == a
    assert set(merge(a, b)) == set(a) | set(b)
    for key, value in b.items():
        if not isinstance(value, dict):
            assert merge(a, b)[key] == value
    merge(merge(a, b), c)
    assert (a, b, c) == before
