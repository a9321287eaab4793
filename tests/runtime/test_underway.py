import pytest

from siwatsystem.runtime.underway import Underway, share_for, shares


@pytest.mark.parametrize(
    ("cores", "expected"),
    [(1, (1,)), (2, (1, 2)), (4, (1, 4)), (6, (1, 4, 6)), (16, (1, 4, 16)), (32, (1, 4, 16, 32))],
)
def test_cores_are_all_of_one_call_or_shared_until_each_is_alone(cores: int, expected: tuple[int, ...]):
    assert shares(cores) == expected


def test_each_call_has_a_share_of_its_own_as_long_as_there_are_cores():
    assert [share_for(calls, (1, 4, 16)) for calls in (1, 2, 4, 5, 16, 17, 100)] == [1, 4, 4, 16, 16, 16, 16]


def test_calls_are_counted_while_they_last():
    underway = Underway()
    with underway.call() as first, underway.call() as second:
        assert (first, second) == (1, 2)
    with pytest.raises(ValueError, match="broken"), underway.call():
        raise ValueError("broken")
    with underway.call() as alone:
        assert alone == 1
