"""Placeholders by value and by property."""

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siwatsystem.actions.templates import Unresolved, placeholders, render, unknown

CONTEXT: dict[str, object] = {
    "class": "Car",
    "confidence": 0.93,
    "none": None,
    "quote": 'say "hi" \\ {class}\n',
    "bbox": [1, 2],
    "flag": True,
    "cls-v1.2": {"brand": "Honda", "year": None},
    "flat.field": "flat",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("{class}", "Car"),
        ("a {class} b {class}", "a Car b Car"),
        ("{cls-v1.2.brand}", "Honda"),
        ("{flat.field}", "flat"),
        ("[{none}]", "[]"),
        ("{bbox}", "[1, 2]"),
        ("{confidence}", "0.93"),
        ('{"a": {"b": 1}}', '{"a": {"b": 1}}'),
        ('{"a": "{class}"}', '{"a": "Car"}'),
        ("{ class }", "{ class }"),
        ("{{class}}", "{Car}"),
        ("{}", "{}"),
        ("{1}", "{1}"),
        ("{class!r}", "{class!r}"),
        ("{class:>10}", "{class:>10}"),
        ("{class[0]}", "{class[0]}"),
        ("{-x.y}", "{-x.y}"),
        ("{class", "{class"),
    ],
)
def test_text(text: str, expected: str) -> None:
    assert render(text, CONTEXT) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"p": "{none}"}', {"p": None}),
        ('{"p": {none}}', {"p": None}),
        ('{"p": "a{none}b"}', {"p": "ab"}),
        ('{"p": "{none}{none}"}', {"p": ""}),
        ('{"p": "{quote}"}', {"p": CONTEXT["quote"]}),
        ('{"p": {quote}}', {"p": CONTEXT["quote"]}),
        ('{"p": {confidence}, "q": "{confidence}"}', {"p": 0.93, "q": "0.93"}),
        ('{"p": {flag}, "b": {bbox}}', {"p": True, "b": [1, 2]}),
        ('{"p": "\\"{none}"}', {"p": '"'}),
        ('{"{class}": "{cls-v1.2.year}"}', {"Car": None}),
        ('{"a": {"b": {"c": "{cls-v1.2.brand}"}}}', {"a": {"b": {"c": "Honda"}}}),
    ],
)
def test_json(text: str, expected: object) -> None:
    assert json.loads(render(text, CONTEXT, json=True)) == expected


@pytest.mark.parametrize("text", ["{missing}", "{class.upper}", "{cls-v1.2.color}", "{a.b.c}", "{__class__}"])
def test_what_is_in_no_context_is_said(text: str) -> None:
    with pytest.raises(Unresolved) as raised:
        render(text, CONTEXT)
    assert raised.value.name == text[1:-1]
    assert unknown(text, CONTEXT) == [text[1:-1]]


def test_names() -> None:
    text = '{a} {b.c} {m-1.x.field} {a} { x } {"k": {z}} {0.5} {a-b} {a.} {.a}'
    assert placeholders(text) == ["a", "b.c", "m-1.x.field", "z"]
    assert unknown(text, {"a", "z"}) == ["b.c", "m-1.x.field"]


@given(st.text(), st.dictionaries(st.sampled_from(["a", "b", "m.f"]), st.text() | st.none() | st.floats()))
def test_values_are_never_looked_into(text: str, context: dict[str, object]) -> None:
    missing = unknown(text, context)
    if missing:
        with pytest.raises(Unresolved):
            render(text, context)
        return
    rendered = render(text, context)
    if not placeholders(text):
        assert rendered == text
    else:
        assert render(text, dict.fromkeys(placeholders(text), "{a}")).count("{a}") >= len(placeholders(text))


VALUES = st.text() | st.none() | st.integers() | st.floats() | st.booleans()


@given(VALUES, VALUES)
def test_json_stays_json_and_text_comes_back(inside: object, outside: object) -> None:
    text = '{"first": "{x}", "second": {y}, "third": "<{x}>"}'
    message = json.loads(render(text, {"x": inside, "y": outside}, json=True))
    if isinstance(inside, str):
        assert message["first"] == inside
        assert message["third"] == f"<{inside}>"
    if isinstance(outside, str | int | None):
        assert message["second"] == outside


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_json_without_names_is_left_alone(value: object) -> None:
    text = json.dumps(value)
    if not placeholders(text):
        assert render(text, {}) == text
        assert render(text, {}, json=True) == text


@pytest.mark.parametrize("unit", ["{", "{a.", "{a}", "a.", "{a-", '"', "\\", "{a.b"])
@pytest.mark.parametrize(
    "how", [placeholders, lambda t: render(t, {"a": 1}), lambda t: render(t, {"a": 1}, json=True)]
)
def test_hostile_text_takes_linear_time(unit: str, how: Callable[[str], object]) -> None:
    start = time.process_time()
    how(unit * 300_000)
    assert time.process_time() - start < 20
