"""Identity kept over simulated traffic: crossing, hidden, waiting, missed, invented."""

import pytest

from siwatsystem.pipeline.trackers import make_tracker
from siwatsystem.pipeline.tracking import Tracking
from tests.boxes import frames, idf1

SEEDS = range(4)
Tracks = list[tuple[list[int | None], list[int | None]]]


def follow(seed: int, fps: float) -> Tracks:
    tracker = make_tracker(Tracking())
    followed: Tracks = []
    for at, boxes, whose in frames(seed, fps):
        seen = tracker.update(boxes, at)
        followed.append((whose, [one.track if one and one.confirmed else None for one in seen]))
    return followed


@pytest.mark.parametrize(("fps", "least"), [(2, 0.90), (5, 0.92), (10, 0.93)])
def test_identity_is_kept(fps: float, least: float) -> None:
    scores = [idf1(follow(seed, fps)) for seed in SEEDS]

    assert sum(scores) / len(scores) >= least


@pytest.mark.parametrize("fps", [2, 10])
def test_a_car_has_one_track_that_is_believed(fps: float) -> None:
    cars = once = 0
    for seed in SEEDS:
        owners: dict[int, list[int]] = {}
        for whose, tracks in follow(seed, fps):
            for one, track in zip(whose, tracks, strict=False):
                if one is not None and track is not None:
                    owners.setdefault(one, []).append(track)
        cars += len(owners)
        once += sum(len(set(tracks)) == 1 for tracks in owners.values())

    assert once / cars >= 0.9


def test_a_score_of_wrong_identities_is_low() -> None:
    assert idf1([([1, 2], [1, 2])] * 10) == 1
    assert idf1([([1, 2], [1, 2])] * 5 + [([1, 2], [2, 1])] * 5) == 0.5
    assert idf1([([1, 2], [1])] * 10) == pytest.approx(2 / 3)
