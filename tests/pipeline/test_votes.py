"""On which class a node's answers about one object settle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siwatsystem.pipeline.tracking import Voting
from siwatsystem.pipeline.votes import Ballot


def cast(ballot: Ballot, *names: str) -> None:
    for name in names:
        ballot.cast(name, 0.5, 0.0)


def test_three_votes_that_agree_settle() -> None:
    ballot = Ballot(Voting(min_seconds=0))
    cast(ballot, "Aster", "Aster")
    assert ballot.standing is not None
    assert not ballot.standing.settled
    cast(ballot, "Aster")
    assert ballot.standing.votes == 3
    assert ballot.standing.settled
    assert ballot.closed


def test_two_of_three_are_more_than_three_fifths() -> None:
    ballot = Ballot(Voting(min_seconds=0))
    cast(ballot, "Borel", "Aster", "Aster")
    assert ballot.standing is not None
    assert ballot.standing.settled
    assert ballot.standing.class_name == "Aster"
    assert ballot.standing.support == pytest.approx(2 / 3)


def test_while_nobody_has_the_share_the_leader_may_change() -> None:
    ballot = Ballot(Voting(min_seconds=0))
    cast(ballot, "Aster", "Borel", "Corvano")
    assert ballot.standing is not None
    assert not ballot.standing.settled
    cast(ballot, "Corvano")
    assert ballot.standing.class_name == "Corvano"
    assert not ballot.standing.settled
    cast(ballot, "Corvano")
    assert ballot.standing.settled


def test_what_has_settled_stays() -> None:
    ballot = Ballot(Voting(min_seconds=0))
    cast(ballot, "Aster", "Aster", "Aster", *["Borel"] * 9)
    assert ballot.standing is not None
    assert (ballot.standing.class_name, ballot.standing.votes) == ("Aster", 3)


def test_of_two_with_as_many_votes_the_surer_one_leads() -> None:
    ballot = Ballot(Voting(min_seconds=0))
    ballot.cast("Aster", 0.6, 0.0)
    ballot.cast("Borel", 0.9, 0.0)
    assert ballot.standing is not None
    assert ballot.standing.class_name == "Borel"
    assert ballot.standing.confidence == pytest.approx(0.9)


def test_it_ends_after_the_most_votes_whatever_the_share() -> None:
    ballot = Ballot(Voting(min_share=1.0, max_votes=4))
    cast(ballot, "Aster", "Borel", "Aster")
    assert not ballot.closed
    ballot.abstain()
    assert ballot.closed
    assert ballot.standing is not None
    assert ballot.standing.settled
    assert ballot.standing.class_name == "Aster"


def test_a_node_that_never_answers_is_not_asked_for_ever() -> None:
    ballot = Ballot(Voting(max_votes=5))
    for _ in range(5):
        assert not ballot.closed
        ballot.abstain()
    assert ballot.closed
    assert ballot.standing is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), max_size=60), st.integers(1, 40))
def test_whatever_is_cast_the_standing_is_what_was_counted(votes: list[tuple[str, float]], most: int) -> None:
    ballot = Ballot(Voting(max_votes=most, min_seconds=0))
    counted: list[str] = []
    for name, confidence in votes:
        settled = ballot.standing is not None and ballot.standing.settled
        standing = ballot.cast(name, confidence, 0.0)
        if not settled:
            counted.append(name)
        assert counted.count(standing.class_name) == max(counted.count(one) for one in "abc")
        assert standing.votes == len(counted)
        assert standing.support == pytest.approx(counted.count(standing.class_name) / len(counted))
        assert len(counted) <= most


def test_votes_that_follow_fast_upon_each_other_do_not_settle() -> None:
    ballot = Ballot(Voting(min_seconds=1))
    for number in range(10):
        assert not ballot.cast("Aster", 0.9, 100 + number / 10).settled
    assert ballot.cast("Aster", 0.9, 101).settled
