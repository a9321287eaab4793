"""Counts what was seen over a whole analysis: objects, labels, actions, times."""

from array import array
from collections import Counter, defaultdict

from siwatsystem.analysis.analysis import Analysed

BIN_SEC = 0.2
"""Length of the pieces of time in which detections are counted."""
CONFIDENCES = 50
"""Pieces of 0–1 in which confidences are counted."""


class Tally:
    """Filled with every result; `begin` before each material, whose track ids are its own."""

    def __init__(self) -> None:
        self.frames = 0
        self.seconds = 0.0
        """Of material, up to the last frame."""
        self.busy = 0.0
        """Seconds that pipelines took."""
        self.events = 0
        self.failures: Counter[str] = Counter()
        self.boxes: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        """Most at a time, by class."""
        self.actions: Counter[str] = Counter()
        self.outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """By node: how often it ran, was skipped, failed."""
        self.node_seconds: defaultdict[str, array[float]] = defaultdict(lambda: array("f"))
        self.confidences: defaultdict[tuple[str, str], Counter[int]] = defaultdict(Counter)
        """By branch ("" for boxes) and class: the piece of 0–1, and how many lay in it."""
        self.timeline: defaultdict[str, Counter[int]] = defaultdict(Counter)
        """By class: the piece of time, and the most at a time in it."""
        self.now: Counter[str] = Counter()
        """Boxes on the newest frame, by class."""
        self._ids: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
        self._labels: defaultdict[str, dict[tuple[int, int], str]] = defaultdict(dict)
        self._loose: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._material = 0
        self._offset = 0.0

    def begin(self) -> None:
        """A new material begins: its time follows the one before, its ids mean other objects."""
        self._material += 1
        self._offset = self.seconds

    def add(self, analysed: Analysed) -> None:
        self.frames += 1
        self.busy += analysed.seconds
        self.seconds = self._offset + analysed.frame.at
        if analysed.failure is not None:
            self.failures[analysed.failure] += 1
        self.actions.update(job.kind for job in analysed.jobs)
        for step in analysed.trace.steps:
            self.outcomes[step.model_id][step.outcome] += 1
            if step.outcome == "ran":
                self.node_seconds[step.model_id].append(step.seconds)
        self._add_boxes(analysed)
        self._add_labels(analysed)

    def end(self, seconds: float | None) -> None:
        """The material has ended, after `seconds` where it says how long it is."""
        self.seconds = max(self.seconds, self._offset + (seconds or 0.0))

    def objects(self, class_name: str) -> int | None:
        """Distinct objects of a class by their tracks; None where nothing tracked it."""
        ids = self._ids.get(class_name)
        return None if ids is None else len(ids)

    def labels(self) -> dict[str, Counter[str]]:
        """By branch: how many objects got which class; where nothing tracks, how many events."""
        found = {node: Counter(loose) for node, loose in self._loose.items()}
        for node, by_track in self._labels.items():
            found.setdefault(node, Counter()).update(by_track.values())
        return found

    def _add_boxes(self, analysed: Analysed) -> None:
        self.now = Counter()
        piece = int(self.seconds / BIN_SEC)
        for box in analysed.boxes:
            name = box.class_name
            self.now[name] += 1
            self.boxes[name] += 1
            self.confidences["", name][_piece(box.confidence)] += 1
            if box.tracker_id is not None:
                self._ids[name].add((self._material, box.tracker_id))
        for name, count in self.now.items():
            self.most[name] = max(self.most[name], count)
            self.timeline[name][piece] = max(self.timeline[name][piece], count)

    def _add_labels(self, analysed: Analysed) -> None:
        self.events += len(analysed.events)
        for event in analysed.events:
            for node, branch in event.branches.items():
                self.confidences[node, branch.class_name][_piece(branch.confidence)] += 1
                if event.tracker_id is None:
                    self._loose[node][branch.class_name] += 1
                else:
                    # The newest is the one that most votes were counted for.
                    self._labels[node][self._material, event.tracker_id] = branch.class_name


def _piece(confidence: float) -> int:
    return min(int(confidence * CONFIDENCES), CONFIDENCES - 1)
