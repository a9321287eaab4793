import math
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from siwatsystem.detections import Detection
from siwatsystem.pipeline.trackers import Features, Sighting, Tracker, make_tracker
from siwatsystem.pipeline.tracking import TrackerConfig, Tracking


def car(x: float, y: float = 400, w: float = 200, h: float = 120, *, name: str = "Car", sure: float = 0.9):
    return Detection(name, sure, (x, y, x + w, y + h))


def tracker(**config: float) -> Tracker:
    return make_tracker(Tracking(config=TrackerConfig.model_validate(config)))


def numbers(seen: Sequence[Sighting | None]) -> list[int | None]:
    return [None if one is None else one.track for one in seen]


def test_a_car_is_believed_at_its_second_sighting_or_when_it_is_sure() -> None:
    cars = tracker()
    cars.update([], -0.5)

    assert cars.update([car(0, sure=0.7)], 0) == [Sighting(1, confirmed=False)]
    assert cars.update([car(150, sure=0.7)], 0.5) == [Sighting(1, confirmed=True)]
    assert cars.update([car(170, sure=0.7), car(900, sure=0.9)], 1)[1] == Sighting(2, confirmed=True)


def test_what_is_there_on_the_first_picture_is_believed_at_once() -> None:
    assert tracker().update([car(0)], 0) == [Sighting(1, confirmed=True)]


def test_how_often_it_must_be_seen_is_set() -> None:
    cars = tracker(min_hits=1)
    cars.update([], -0.5)

    assert cars.update([car(0)], 0) == [Sighting(1, confirmed=True)]


def test_cars_that_step_by_their_own_length_keep_their_tracks() -> None:
    cars = tracker()
    for k in range(6):
        seen = cars.update([car(20 + 180 * k, 500), car(1000 - 180 * k, 200)], k / 2)
        assert numbers(seen) == [1, 2]


def test_cars_that_meet_keep_their_tracks() -> None:
    cars = tracker()
    for k in range(30):
        seen = cars.update([car(40 * k, 400), car(1000 - 40 * k, 330)], k / 10)
        assert numbers(seen) == [1, 2]


def test_a_car_that_was_hidden_is_found_where_its_way_led() -> None:
    cars = tracker()
    for k in range(10):
        cars.update([car(30 * k), car(900, 300)], k / 10)
    for k in range(10, 20):
        assert numbers(cars.update([car(900, 300)], k / 10)) == [2]

    assert numbers(cars.update([car(30 * 20)], 2.0)) == [1]


def test_a_car_is_forgotten_after_the_buffer() -> None:
    cars = tracker(track_buffer=2)
    for k in range(5):
        cars.update([car(300)], k / 10)
    for k in range(5, 24):
        cars.update([], k / 10)
        assert cars.alive() == {1}
    for k in range(24, 28):
        cars.update([], k / 10)

    assert cars.alive() == frozenset()
    assert numbers(cars.update([car(300)], 2.8)) == [2]


def test_frames_further_apart_than_the_buffer_still_make_tracks() -> None:
    cars = tracker(track_buffer=1)
    for k in range(4):
        assert numbers(cars.update([car(300)], 2.0 * k)) == [1]


def test_another_car_at_the_other_end_is_another() -> None:
    cars = tracker()
    for k in range(7):
        cars.update([car(180 * k)], k / 2)

    assert numbers(cars.update([car(0)], 3.5)) == [2]


def test_what_comes_in_at_an_edge_is_not_what_just_left_there() -> None:
    cars = tracker()
    for k in range(13):
        x = 100 * k
        cars.update([Detection("Car", 0.9, (x, 400, min(x + 200, 1280), 520))], k / 10)

    assert numbers(cars.update([Detection("Car", 0.9, (1230, 330, 1280, 450))], 1.3)) == [2]


def test_unsure_boxes_continue_tracks_and_begin_none() -> None:
    cars = tracker()
    cars.update([car(100)], 0)

    assert numbers(cars.update([car(110, sure=0.15), car(700, sure=0.15)], 0.1)) == [1, None]
    assert numbers(cars.update([car(120, sure=0.05)], 0.2)) == [None]


def test_a_car_and_its_front_are_followed_apart() -> None:
    cars = tracker()
    front = car(120, 420, 150, 90, name="Frontal")
    assert numbers(cars.update([car(100), front], 0)) == [1, 2]
    assert numbers(cars.update([front], 0.1)) == [2]
    assert numbers(cars.update([front, car(100)], 0.2)) == [2, 1]


def test_a_class_that_flickers_does_not_split_a_track() -> None:
    cars = tracker()
    for k, name in enumerate(["Car", "Car", "Van", "Car", "Van"]):
        assert numbers(cars.update([car(100 + 5 * k, name=name)], k / 10)) == [1]


def test_a_second_box_of_the_same_car_begins_no_track() -> None:
    cars = tracker()
    for k in range(4):
        assert numbers(cars.update([car(100 + k, sure=0.9), car(118 + k, sure=0.6)], k / 10)) == [1, None]


def test_further_boxes_of_a_frame_are_matched_to_tracks_not_seen_on_it() -> None:
    cars = tracker()
    assert numbers(cars.update([car(100)], 0)) == [1]
    assert numbers(cars.update([car(600)], 0)) == [2]
    assert numbers(cars.update([car(605)], 0.1)) == [2]
    assert numbers(cars.update([car(105), car(607)], 0.1)) == [1, None]


def test_an_empty_update_of_the_same_frame_changes_nothing() -> None:
    cars = tracker()
    for k in range(5):
        assert numbers(cars.update([car(100)], float(k))) == [1]
        assert cars.update([], float(k)) == []


def test_time_that_goes_back_is_no_time() -> None:
    cars = tracker()
    for k in range(10):
        assert numbers(cars.update([car(20 * k)], 100 + k / 10)) == [1]
    for k in range(10, 14):
        assert numbers(cars.update([car(200)], k / 10)) == [1]


def looks_of(colours: dict[float, tuple[float, ...]]):
    """An encoder that tells boxes apart by their upper edge, and the boxes it was asked for."""
    asked: list[Detection] = []

    def encode(boxes: Sequence[Detection]) -> Features:
        asked.extend(boxes)
        rows = np.array([colours[box.xyxy[3] - box.xyxy[1]] for box in boxes], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return encode, asked


def by_looks() -> Tracker:
    return make_tracker(Tracking(method="botsort", config=TrackerConfig(with_reid=True)))


def test_looks_tell_apart_cars_that_may_be_either() -> None:
    red, blue = car(300, 300, h=120), car(300, 420, h=121)
    encode, _ = looks_of({120: (1, 0, 0.1), 121: (0, 1, 0.1)})
    looking, blind = by_looks(), tracker()
    for k in range(3):
        looking.update([red, blue], k / 10, encode)
        blind.update([red, blue], k / 10)
    # Both gone for long, and back with their places exchanged.
    swapped = [car(300, 300, h=121), car(300, 420, h=120)]

    assert numbers(looking.update(swapped, 2.5, encode)) == [2, 1]
    assert numbers(blind.update(swapped, 2.5)) == [1, 2]


def test_looks_are_taken_only_where_they_matter() -> None:
    encode, asked = looks_of({120: (1, 0)})
    cars = by_looks()
    for k in range(10):
        cars.update([car(100 + 2 * k)], k / 10, encode)

    assert 1 <= len(asked) <= 2


def test_looks_are_not_asked_for_without_a_need() -> None:
    encode, asked = looks_of({120: (1, 0)})
    cars = tracker()
    cars.update([car(100)], 0, encode)
    cars.update([car(100)], 0.1, encode)

    assert not asked


numbers_any = st.floats(-1e4, 1e4) | st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e30])
boxes_any = st.lists(
    st.builds(
        Detection,
        st.sampled_from(["Car", "Frontal"]),
        st.floats(0, 1),
        st.tuples(numbers_any, numbers_any, numbers_any, numbers_any),
    ),
    max_size=6,
)
boxes_near = st.lists(
    st.builds(
        lambda x, y, w, sure, name: car(x, y, w, 0.6 * w, name=name, sure=sure),
        st.integers(0, 1000),
        st.integers(0, 600),
        st.integers(40, 250),
        st.floats(0, 1),
        st.sampled_from(["Car", "Frontal"]),
    ),
    max_size=8,
    unique=True,
)
times = st.floats(-1e3, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(times | st.floats(0, 10), boxes_any | boxes_near), max_size=12))
def test_nothing_that_comes_in_raises(frames: list[tuple[float, list[Detection]]]) -> None:
    cars = tracker()
    for at, boxes in frames:
        seen = cars.update(boxes, at)
        given_out = [one.track for one in seen if one is not None]
        assert len(seen) == len(boxes)
        assert len(set(given_out)) == len(given_out)
        assert set(given_out) <= cars.alive()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0.02, 2), boxes_near), max_size=15))
def test_numbers_begin_in_order_and_do_not_come_back(frames: list[tuple[float, list[Detection]]]) -> None:
    cars, now, highest = tracker(track_buffer=1), 0.0, 0
    gone: set[int] = set()
    known: set[int] = set()
    for passed, boxes in frames:
        now += passed
        given_out = {one.track for one in cars.update(boxes, now) if one is not None}
        fresh = sorted(given_out - known)
        assert fresh == list(range(highest + 1, highest + 1 + len(fresh)))
        assert not given_out & gone
        highest, known = highest + len(fresh), known | given_out
        gone = known - cars.alive()


@settings(max_examples=100, deadline=None)
@given(st.lists(boxes_near, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_boxes_does_not_matter(frames: list[list[Detection]], chance) -> None:
    one, other = tracker(), tracker()
    for k, boxes in enumerate(frames):
        shuffled = list(boxes)
        chance.shuffle(shuffled)
        seen = dict(zip(boxes, one.update(boxes, k / 5), strict=True))
        assert dict(zip(shuffled, other.update(shuffled, k / 5), strict=True)) == seen


def test_what_is_remembered_is_bounded() -> None:
    cars, chance = tracker(), np.random.default_rng(1)
    for _ in range(40):
        places = chance.uniform(0, 20_000, (60, 2)).tolist()
        cars.update([car(x, y, 40, 30) for x, y in places], 1.0 - _)  # time never passes

    assert len(cars.alive()) <= 300


def test_a_car_that_comes_into_sight_where_another_left_is_another() -> None:
    cars = tracker()
    for k in range(4):
        cars.update([car(160 - 8 * k, 160 + 5 * k, 280 + 20 * k, 200 - 5 * k)], k / 10)
    assert numbers(cars.update([car(242, 160, 130, 117)], 0.8)) == [2]
