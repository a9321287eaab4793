"""What was seen lately, newest first, with a small picture each: kept only while somebody looks."""

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from siwatsystem.detections import Xyxy
from siwatsystem.overview.boxes import words_of
from siwatsystem.pipeline.events import Event

MOST = 60
"""Entries that are kept, with their pictures."""
TOLD = 30
"""Entries that are shown: the pictures of some more are there for who asks late."""
APART_SEC = 5.0
"""What nothing follows is told again as something new after such a pause."""

Key = tuple[str, str, int | None]
"""Camera, class and track; the camera alone of what nothing follows."""


@dataclass(slots=True)
class Entry:
    """An object that was seen, from its first frame to its newest; times in seconds since 1970."""

    number: int
    camera: str
    class_name: str
    track: int | None
    first: float
    newest: float
    confidence: float
    words: tuple[str, ...] = ()
    """What the branches said of it."""
    picture: int = 0
    """Counts the pictures of it; 0 while there is none."""
    wants: bool = True
    """Whether a (better) picture is to be made of it, as soon as there is time."""
    box: Xyxy = field(default=(0.0, 0.0, 0.0, 0.0), repr=False)

    def as_dict(self) -> dict[str, object]:
        return {
            "number": self.number,
            "camera": self.camera,
            "class": self.class_name,
            "track": self.track,
            "first": round(self.first, 2),
            "newest": round(self.newest, 2),
            "confidence": round(self.confidence, 2),
            "words": self.words,
            "picture": self.picture,
        }


class Feed:
    """Pure: what came is given to it, with its time."""

    def __init__(self) -> None:
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        """By number: the oldest first."""
        self._current: dict[Key, Entry] = {}
        self._pictures: dict[int, bytes] = {}
        self._numbers = itertools.count(1)

    def __iter__(self) -> Iterator[Entry]:
        """Newest first."""
        return reversed(self._entries.values())

    def add(self, camera: str, event: Event, at: float) -> Entry:
        """Note an event of the frame at that time. Returns its entry, which wants a (better) picture where it
        is new, or something was said of it for the first time."""
        entry = self._entry(camera, event, at)
        words = words_of(event)
        entry.wants = entry.wants or (bool(words) and not entry.words)
        entry.newest, entry.confidence, entry.box = at, event.confidence, event.xyxy
        entry.class_name, entry.words = event.class_name, words or entry.words
        return entry

    def has_picture(self, number: int, picture: bytes) -> None:
        """The JPEG of an entry is ready; of one that is gone it is thrown away."""
        entry = self._entries.get(number)
        if entry is not None:
            entry.picture += 1
            self._pictures[number] = picture

    def picture(self, number: int) -> bytes | None:
        return self._pictures.get(number)

    def clear(self) -> None:
        """Nobody looks any more."""
        self._entries.clear()
        self._current.clear()
        self._pictures.clear()

    def _entry(self, camera: str, event: Event, at: float) -> Entry:
        """The entry of what was seen before, where this is the same; else a new one."""
        track = event.tracker_id
        key = (camera, "" if track is None else event.class_name, track)
        entry = self._current.get(key)
        if entry is not None and at - entry.newest <= APART_SEC and _same(entry, event, at):
            return entry
        entry = Entry(next(self._numbers), camera, event.class_name, track, at, at, 0.0)
        self._entries[entry.number] = self._current[key] = entry
        if len(self._entries) > MOST:
            number, oldest = self._entries.popitem(last=False)
            self._pictures.pop(number, None)
            for old in [old for old, one in self._current.items() if one is oldest]:
                del self._current[old]
        return entry


def _same(entry: Entry, event: Event, at: float) -> bool:
    """Whether an event goes on with an entry. Without tracks a class that flickers would fill the list."""
    of_class = event.tracker_id is not None or entry.class_name == event.class_name
    return of_class or at - entry.first <= APART_SEC
