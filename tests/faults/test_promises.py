"""Every promise in its short form."""

from pathlib import Path

import pytest

from tests.faults.promise import Figure, Length, Promise, Unplayable
from tests.faults.promises import PROMISES
from tests.servers import open_folder


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
def test_it_is_kept(promise: Promise):
    try:
        with open_folder() as folder:
            figures = promise.play(Path(folder), Length(short=True))
    except Unplayable as reason:
        pytest.skip(str(reason))
    assert figures
    assert [str(figure) for figure in figures if not figure.kept_here] == []


def test_a_broken_promise_is_noticed():
    assert not Figure("told", 11.0, 10.0, "s").kept
    assert not Figure("frames", 9.0, 10.0, least=True).kept
    assert Figure("frames", 10.0, 10.0, least=True).kept
    assert not Figure("told", 31.0, 10.0, "s", timed=True).kept_here
    assert Figure("told", 11.0, 10.0, "s", timed=True).kept_here
    assert not Figure("rows", 11.0, 10.0).kept_here
