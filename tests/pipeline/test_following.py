"""Zones, stability, clean ids and forgetting, on a tracker that never errs."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from siwatsystem.detections import Detection
from siwatsystem.pipeline.following import Follower, Seen
from siwatsystem.pipeline.trackers import Encode, Sighting
from siwatsystem.pipeline.tracking import Tracking

SIZE = (1000, 500)
ZONE = [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]
"""The right half."""


class Named:
    """Knows every box by its class; confirms at once, keeps what it does not see for `keep` seconds."""

    def __init__(self, tracking: Tracking, keep: float = 3.0) -> None:
        self._numbers: dict[str, int] = {}
        self._last: dict[int, float] = {}
        self._at = 0.0
        self._keep = keep

    def update(
        self, detections: Sequence[Detection], at: float, encode: Encode | None = None
    ) -> list[Sighting | None]:
        self._at = at
        found: list[Sighting | None] = []
        for box in detections:
            number = self._numbers.get(box.class_name)
            if number is None or number not in self.alive():
                number = self._numbers[box.class_name] = len(self._last) + 1
            self._last[number] = at
            found.append(Sighting(number, confirmed=not box.class_name.startswith("?")))
        return found

    def copy(self) -> "Named":
        return copy.deepcopy(self)

    def alive(self) -> frozenset[int]:
        return frozenset(number for number, last in self._last.items() if self._at - last <= self._keep)


class Film:
    """Feeds a follower frame by frame, half a second apart."""

    def __init__(self, **tracking: Any) -> None:
        self.follower = Follower(Tracking.model_validate(tracking), Named)
        self.frame = 0
        self.at = 0.0

    def show(self, *boxes: Detection, least: float = 0.25) -> Seen:
        self.frame += 1
        self.at += 0.5
        seen = self.follower.follow(boxes, SIZE, self.frame, self.at, least)
        self.follower.ended(self.frame, self.at)
        return seen


def car(x: float, name: str = "Car", y: float = 300, confidence: float = 0.9) -> Detection:
    """A box whose bottom centre is at `x`, `y`."""
    return Detection(name, confidence, (x - 50, y - 80, x + 50, y))


def ready(seen: Seen) -> list[bool]:
    return [seen.ready(box) for box in seen.boxes]


def test_ids_are_given_in_order_from_1_and_only_to_what_is_confirmed() -> None:
    film = Film()
    first = film.show(car(100, "?shadow"), car(300, "a"))
    assert [box.tracker_id for box in first.boxes] == [None, 1]
    second = film.show(car(100, "b"), car(310, "a"))
    assert [box.tracker_id for box in second.boxes] == [2, 1]


def test_without_zone_or_threshold_everything_is_of_interest_at_once() -> None:
    film = Film()
    assert ready(film.show(car(100, "?new"), car(300, "a"))) == [True, True]


def test_in_a_zone_ids_count_who_entered_it() -> None:
    film = Film(zone=ZONE)
    outside = film.show(car(100, "a"), car(200, "b"))
    assert [box.tracker_id for box in outside.boxes] == [None, None]
    assert ready(outside) == [False, False]
    inside = film.show(car(150, "a"), car(600, "b"))
    assert [box.tracker_id for box in inside.boxes] == [None, 1]
    assert ready(inside) == [False, True]


def test_the_bottom_centre_counts_also_in_pixels() -> None:
    film = Film(zone=[[0, 290], [1000, 290], [1000, 310], [0, 310]])
    assert ready(film.show(car(500, y=280))) == [False]
    assert ready(film.show(car(500, y=300))) == [True]


def test_stable_after_consecutive_frames_and_for_good() -> None:
    film = Film(stabilityThreshold=3, zone=ZONE)
    assert [ready(film.show(car(600 + step))) for step in range(3)] == [[False], [False], [True]]
    assert ready(film.show(car(100))) == [True]  # it has left the zone, and is still the same car


@pytest.mark.parametrize("between", [[car(100)], []])
def test_a_frame_outside_or_unseen_begins_the_count_anew(between: list[Detection]) -> None:
    film = Film(stabilityThreshold=3, zone=ZONE)
    film.show(car(600))
    film.show(car(610))
    film.show(*between)
    assert [ready(film.show(car(620))) for _ in range(3)] == [[False], [False], [True]]


def test_a_jump_is_not_counted() -> None:
    film = Film(stabilityThreshold=3, maxJump=100)
    film.show(car(100))
    film.show(car(150))
    assert ready(film.show(car(400))) == [False]
    assert ready(film.show(car(410))) == [True]


def test_a_box_too_unsure_to_be_told_still_counts() -> None:
    film = Film(stabilityThreshold=3)
    film.show(car(100))
    assert film.show(car(101, confidence=0.12)).boxes == ()
    assert ready(film.show(car(102))) == [True]


def test_parts_of_what_is_ready_are_of_interest() -> None:
    film = Film(stabilityThreshold=2)
    film.show(car(300))
    front = Detection("Frontal", 0.8, (290, 250, 330, 290))
    seen = film.show(car(300), front, car(700, "other"))
    assert [box.class_name for box in seen.of_interest] == ["Car", "Frontal"]


FRONT = Detection("Frontal", 0.8, (290, 250, 330, 290))
"""Of the car at 300."""


def test_a_car_and_its_front_are_one_object_whichever_is_surer() -> None:
    film = Film(once=True)
    for _ in range(3):
        whole, part = film.show(car(300), FRONT).boxes
        assert (whole.tracker_id, part.tracker_id) == (1, 1)
    seen = film.show(car(300), FRONT)
    assert seen.subject_of(seen.boxes[0]) is seen.subject_of(seen.boxes[1])


def test_a_front_that_was_there_first_hands_on_what_was_done_for_it() -> None:
    film = Film(once=True)
    seen = film.show(FRONT)
    subject = seen.subject_of(seen.boxes[0])
    assert subject is not None
    subject.done.add("something")
    later = film.show(car(300), FRONT)
    assert [later.subject_of(box) for box in later.boxes] == [subject, subject]
    assert [box.tracker_id for box in later.boxes] == [1, 1]


def test_a_front_stays_with_its_car_while_that_is_not_seen() -> None:
    film = Film(once=True)
    whole, _ = (seen := film.show(car(300), FRONT)).boxes
    subject = seen.subject_of(whole)
    alone = film.show(FRONT)
    assert alone.subject_of(alone.boxes[0]) is subject


def test_what_passes_in_front_of_a_car_is_not_taken_for_it() -> None:
    film = Film(once=True)
    parked = film.show(car(300))
    subject = parked.subject_of(parked.boxes[0])
    for x in (200, 300, 400):
        walker = Detection("Person", 0.8, (x - 10, 240, x + 10, 300))
        seen = film.show(car(300), walker)
    assert seen.subject_of(seen.boxes[0]) is subject
    assert seen.subject_of(seen.boxes[1]) is not subject


def test_a_front_belongs_to_the_car_that_holds_it_best() -> None:
    film = Film(once=True)
    seen = film.show(car(300), car(345, "Taxi"), Detection("Frontal", 0.8, (340, 250, 380, 290)))
    assert seen.subject_of(seen.boxes[2]) is seen.subject_of(seen.boxes[1])


def test_a_new_car_inside_the_box_of_a_ready_one_is_not_let_through() -> None:
    film = Film(stabilityThreshold=2)
    film.show(car(300))
    near = Detection("car", 0.95, (280, 240, 340, 295))
    seen = film.show(car(300), near)
    assert [box.class_name for box in seen.of_interest] == ["Car"]


def test_ids_start_again_when_nothing_is_followed_after_the_interval() -> None:
    film = Film(resetIntervalSec=10)
    assert film.show(car(100, "a")).boxes[0].tracker_id == 1
    film.at += 9
    assert film.show(car(100, "b")).boxes[0].tracker_id == 2
    film.at += 4  # b is gone by now, and the interval is over
    film.show()
    film.show()
    assert film.show(car(100, "c")).boxes[0].tracker_id == 1


def test_a_parked_car_is_kept_when_ids_start_again_at_last() -> None:
    film = Film(resetIntervalSec=10, once=True)
    film.show(car(600, "gone"))
    film.show(car(600, "gone"), car(300, "parked"))
    for _ in range(45):
        seen = film.show(car(300, "parked"))
        if film.frame == 5:
            subject = seen.subject_of(seen.boxes[0])
            assert subject is not None
            subject.done.add("acted")
    assert seen.boxes[0].tracker_id == 1
    kept = seen.subject_of(seen.boxes[0])
    assert kept is not None
    assert kept.done == {"acted"}
    assert film.show(car(300, "parked"), car(700, "new")).boxes[1].tracker_id == 2


def test_what_is_gone_is_forgotten_and_handed_out_once() -> None:
    film = Film()
    film.show(car(100, "a"))
    film.follower.follow([], SIZE, 2, film.at + 10)
    assert len(film.follower.ended(2, film.at + 10)) == 1
    assert film.follower.ended(3, film.at + 11) == []
    assert film.follower.finish() == []


def test_a_clock_that_stands_or_goes_back_makes_no_frame_of_two() -> None:
    film = Film(stabilityThreshold=3)
    film.at = 1000.0
    film.show(car(300))
    film.at = 500.0
    film.show(car(300))
    film.at = 499.5
    assert ready(film.show(car(300))) == [True]
    assert film.show(car(300)).boxes[0].tracker_id == 1


def test_further_boxes_of_the_same_frame_count_once() -> None:
    follower = Follower(Tracking.model_validate({"stabilityThreshold": 2}), Named)
    follower.follow([car(100, "a")], SIZE, 1, 0.5)
    follower.follow([car(300, "b")], SIZE, 1, 0.5)
    first = follower.follow([car(100, "a")], SIZE, 2, 1.0)
    second = follower.follow([car(300, "b")], SIZE, 2, 1.0)
    assert ready(first) == [True]
    assert ready(second) == [True]
