"""Whatever comes, a parser gives what it promised or an error of its family; and what once broke one."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import archives
from tests.fuzz.target import FIXTURES, from_file, play
from tests.fuzz.targets import TARGETS

FOUND = sorted(path for path in FIXTURES.iterdir() if path.suffix in (".bin", ".txt"))
SHORT = 400
"""Numbered inputs of each parser; `make fuzz` plays a hundred thousand."""


@pytest.fixture(autouse=True, scope="module")
def _room() -> Iterator[None]:
    yield
    archives.clean()


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_a_parser_keeps_its_word(name: str):
    played = play(TARGETS[name], SHORT)
    assert played.failures == ()
    assert played.accepted >= TARGETS[name].share * played.count


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False))
def test_a_parser_keeps_its_word_where_choices_are_searched(name: str, random: Random):
    TARGETS[name].check(TARGETS[name].make(random))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_what_once_broke_it_does_no_more(path: Path):
    TARGETS[path.stem.rpartition("-")[0]].check(from_file(path))
