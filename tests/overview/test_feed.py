"""What was seen lately: an entry per object, its pictures, and no more than there is room for."""

from dataclasses import replace

from siwatsystem.detections import Detection
from siwatsystem.overview.feed import APART_SEC, MOST, Entry, Feed
from siwatsystem.pipeline.events import BranchResult, Event
from siwatsystem.pipeline.node import Node

CAR = Detection("Car", 0.9, (10, 20, 110, 80), 3)
BRAND = Node(model_id="brand", model_file="b.pt", min_confidence=0.5, trigger_classes=("Car",))


def seen(car: Detection = CAR, brand: str | None = None) -> Event:
    branches = {} if brand is None else {"brand": BranchResult(BRAND, brand, 0.8)}
    return Event(car, branches=branches)


def made(feed: Feed, entry: Entry, picture: bytes) -> bool:
    """Give it the picture that it wants; False where it wants none."""
    wanted, entry.wants = entry.wants, False
    feed.has_picture(entry.number, picture)
    return wanted


def test_a_track_is_one_entry_that_learns():
    feed = Feed()
    entry = feed.add("d;c", seen(), 1.0)
    assert made(feed, entry, b"first")
    assert feed.add("d;c", seen(), 2.0) is entry
    assert not entry.wants
    assert feed.add("d;c", seen(brand="Aster"), 3.0) is entry
    assert (entry.wants, entry.words) == (True, ("Aster",))
    # There was no time for it: what has become known is still worth a better picture.
    assert feed.add("d;c", seen(), 3.5) is entry
    assert made(feed, entry, b"second")
    assert feed.add("d;c", seen(), 4.0) is entry
    assert not entry.wants
    assert (entry.words, entry.first, entry.newest, entry.picture) == (("Aster",), 1.0, 4.0, 2)
    assert feed.picture(entry.number) == b"second"
    assert "box" not in entry.as_dict()


def test_newest_first_and_others_apart():
    feed = Feed()
    feed.add("d;c", seen(), 1.0)
    feed.add("d;other", seen(), 2.0)
    feed.add("d;c", seen(replace(CAR, tracker_id=4)), 3.0)
    assert [(entry.camera, entry.track) for entry in feed] == [("d;c", 4), ("d;other", 3), ("d;c", 3)]


def test_what_comes_again_after_a_pause_is_new():
    feed = Feed()
    first = feed.add("d;c", seen(), 1.0)
    assert made(feed, first, b"old")
    second = feed.add("d;c", seen(), 1.1 + APART_SEC)
    assert second.wants
    assert second.number != first.number
    assert [entry.number for entry in feed] == [second.number, first.number]
    assert feed.picture(first.number) == b"old"


def test_classes_that_flicker_where_nothing_follows_do_not_fill_it():
    feed = Feed()
    for step in range(20):
        car = replace(CAR, class_name=("Sedan", "SUV")[step % 2], tracker_id=None)
        entry = feed.add("d;c", seen(car), step / 2)
        assert entry.class_name == car.class_name
    assert [(entry.first, entry.newest) for entry in feed] == [(5.5, 9.5), (0.0, 5.0)]


def test_it_is_bounded_with_its_pictures():
    feed = Feed()
    for number in range(3 * MOST):
        entry = feed.add("d;c", seen(replace(CAR, tracker_id=number)), float(number))
        feed.has_picture(entry.number, b"x")
    kept = list(feed)
    assert len(kept) == MOST
    assert [feed.picture(number) for number in range(1, 2 * MOST)] == [None] * (2 * MOST - 1)
    assert all(feed.picture(entry.number) for entry in kept)
    feed.clear()
    assert list(feed) == []
    assert feed.picture(kept[0].number) is None


def test_a_picture_of_what_is_gone_is_thrown_away():
    feed = Feed()
    feed.has_picture(7, b"late")
    assert feed.picture(7) is None
