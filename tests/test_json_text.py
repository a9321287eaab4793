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


@pytest.mark.parametrize("depth", [191, 200, 500, 1024, 1025, 3000])
def test_arrays_that_nothing_closes_are_deep_and_no_lack_of_memory(depth: int):
    with pytest.raises(TooDeep, match=r"^nested deeper than 32$"):
        loads("[" * depth)


def test_a_few_arrays_that_nothing_closes_are_no_json():
    for depth in (1, 32):
        with pytest.raises(InvalidJson, match="not JSON: unexpected end") as refused:
            loads("[" * depth)
        assert type(refused.value) is InvalidJson


def test_too_many_brackets_are_refused_before_they_are_read():
    with pytest.raises(TooDeep, match=str(MAX_BRACKETS)):
        loads("[" * (MAX_BRACKETS + 1))
