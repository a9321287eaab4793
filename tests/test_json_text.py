import pytest

from siwatsystem.errors import InvalidJson, TooDeep
from siwatsystem.json_text import MAX_BRACKETS, loads


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_json_is_read():
    assert loads('{"a": [1, 2.5, null, "ü"]}') == {"a": [1, 2.5, None, "ü"]}


@pytest.mark.parametrize("text", ["", "{", "NaN", "[1,]", "'a'"])
def test_what_is_no_json_is_refused(text: str):
    with pytest.raises(InvalidJson, match="not JSON"):
        loads(text)


def test_depth_is_counted_to_the_level():
    assert loads(nested(5), 5)
    assert loads("[" + ",".join(["[]"] * 1000) + "]", 2), "many side by side are not deep"
    for text in (nested(6), '{"a":' * 6 + "1" + "}" * 6, nested(3000)):
        with pytest.raises(TooDeep, match="nested deeper than 5"):
            loads(text, 5)


def test_too_many_brackets_are_refused_before_they_are_read():
    with pytest.raises(TooDeep, match=str(MAX_BRACKETS)):
        loads("[" * (MAX_BRACKETS + 1))
