"""Lets an archive run *fast* once it said the same as *exact* on pictures.

The pictures are those of the archive's `tests/`, or frames of the camera on which something was
seen. They are compared on a thread of their own, one after the other, so that live frames are only
slowed, never stopped. Both precisions get their pixels as they do later: *exact* converts the whole
picture, *fast* samples it, so what sampling changes is judged too.
"""

import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from siwatsystem.detections import Prediction
from siwatsystem.errors import SiwatError
from siwatsystem.frames import PICTURE_SUFFIXES, Frame, Image
from siwatsystem.pipeline.crops import crop_box, crop_of
from siwatsystem.pipeline.events import Event
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.node import Node
from siwatsystem.pipeline.reading import kept, read, trigger_of
from siwatsystem.pipeline.regions import Regions, best_per_class
from siwatsystem.runtime.backend import Precision
from siwatsystem.runtime.gate import MARGIN, compare
from siwatsystem.streams.conversion import decoded_from
from siwatsystem.views import View

log = logging.getLogger(__name__)

Pictures = Callable[[], Iterable[View]]
FEWEST_COMPARED = 3
"""Crops on which a branch must have been compared; fewer prove nothing."""
MOST_TEST_PICTURES = 24
"""Pictures of an archive's tests that are compared, evenly chosen: all are in memory at a time."""
MOST_ROUNDS = 20
"""After it a branch that is hardly ever reached keeps the archive exact."""
CLOSE_SEC = 10.0
MOST_KEPT_BYTES = 64 << 20
"""Crops of branches that were reached too seldom, kept from one round to the next."""


class _TooFew(Exception):
    """A branch was reached too seldom to prove anything; more pictures may help."""


class Gate:
    """Collects pictures for one pipeline and compares them; `close` ends it.

    In rounds of `pictures` each: nodes that were reached too seldom wait for the next round, of the
    pictures before only their crops are kept.
    """

    def __init__(self, pipeline: Pipeline, pictures: int) -> None:
        self._pipeline = pipeline
        self._wanted = pictures
        self._pictures: list[View] = []
        self._last: weakref.ref[Image] | None = None
        self._kept: dict[str, list[View]] = {}
        """Crops of the nodes that were reached too seldom as yet."""
        self._same: set[str] = set()
        """Nodes that said the same as exact."""
        self._rounds = 0
        self._compared = 0
        self._lock = threading.Lock()
        self._busy = False
        """Comparing now, or done for good: no more pictures are wanted."""
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def use_tests(self, folder: Path) -> None:
        """Compare on the pictures that the archive brings, if it brings enough; else frames will do."""
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
        if len(found) >= FEWEST_COMPARED:
            self._busy = True
            step = -(-len(found) // MOST_TEST_PICTURES)
            self._begin(
                lambda: (
                    _as_of_a_camera(image) for path in found[::step] if (image := _read(path)) is not None
                )
            )

    def offer(self, view: View, events: Sequence[Event]) -> None:
        """A frame that was analysed; called on the pool's threads. Kept if something was seen on it."""
        if not events or self._busy or self._closed.is_set():
            return
        with self._lock:
            # Subscriptions that share a frame offer the same picture one after the other.
            whole = view.whole
            if self._busy or (self._last is not None and self._last() is whole):
                return
            self._last = weakref.ref(whole)
            self._pictures.append(_as_of_a_camera(view.image))
            if len(self._pictures) < self._wanted:
                return
            self._busy = True
            pictures, self._pictures = self._pictures, []
        self._begin(lambda: pictures)

    def close(self) -> None:
        """Stop comparing; waits for the picture that is under way, but not for a model that hangs in it."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SEC)
            if self._thread.is_alive():
                log.error("%s: comparing hangs and is left alone", self._pipeline.spec.pipeline.model_id)

    def _begin(self, pictures: Pictures) -> None:
        name = f"gate-{self._pipeline.spec.pipeline.model_id}"
        self._thread = threading.Thread(target=self._run, args=(pictures,), name=name, daemon=True)
        self._thread.start()

    def _run(self, pictures: Pictures) -> None:
        passed = waits = False
        try:
            passed, reason = self._judge(list(pictures()))
        except _TooFew as few:
            self._rounds += 1
            given_up = self._rounds >= MOST_ROUNDS
            reason = f"{few}; given up after {MOST_ROUNDS} rounds" if given_up else str(few)
            waits = not given_up
        except SiwatError as error:
            reason = error.message
        except Exception as error:
            # Whatever a runtime makes of the faster precision, exact goes on.
            log.exception("the gate failed")
            reason = f"{type(error).__name__}: {error}"
        if self._closed.is_set():
            return
        if waits:
            self._busy = False
        else:
            self._kept.clear()
        name = self._pipeline.spec.pipeline.model_id
        log.info("%s runs %s: %s", name, "fast" if passed else "exact", reason)
        self._pipeline.precision_reason = reason
        if passed:
            self._pipeline.precision = "fast"

    def _judge(self, pictures: list[View]) -> tuple[bool, str]:
        for model in self._pipeline.models.values():
            model.ensure_fast(self._closed)
        root = self._pipeline.spec.pipeline
        inputs = {node.model_id: self._kept.pop(node.model_id, []) for node in root.walk()}
        for picture in pictures:
            if self._closed.is_set():
                return False, "closed"
            self._collect(root, picture, inputs)
        self._compared += len(pictures)
        short: list[Node] = []
        for node in root.walk():
            if node.model_id in self._same:
                continue
            if len(inputs[node.model_id]) < FEWEST_COMPARED:
                short.append(node)
                continue
            passed, reason = self._node(node, inputs[node.model_id])
            if not passed:
                return False, f"{node.model_id}: {reason}"
            self._same.add(node.model_id)
        if short:
            self._kept = _within(MOST_KEPT_BYTES, {node.model_id: inputs[node.model_id] for node in short})
            first = short[0].model_id
            raise _TooFew(f"{first} was reached on {len(inputs[first])} pictures only")
        return True, f"same as exact on {self._compared} pictures"

    def _collect(self, root: Node, picture: View, inputs: dict[str, list[View]]) -> None:
        """The pictures that each node is given, by its exact parents."""
        if root.model_id not in self._same:
            inputs[root.model_id].append(picture)
        if not self._wanted_below(root):
            return
        model = self._pipeline.models[root.model_id]
        said = model.predict(picture, root.min_confidence, "exact")
        if isinstance(said, tuple):
            self._branches(root, best_per_class(kept(root, said, model.names)), picture, inputs)

    def _branches(self, node: Node, regions: Regions, picture: View, inputs: dict[str, list[View]]) -> None:
        for branch in node.branches:
            region = trigger_of(branch, regions)
            if region is None:
                continue
            box = crop_box(region, picture.shape) if branch.crop else None
            if branch.crop and box is None:
                continue
            part = crop_of(picture, box, branch)
            if branch.model_id not in self._same:
                cut = _as_of_a_camera((picture if box is None else picture.part(box)).image)
                inputs[branch.model_id].append(crop_of(cut, None, branch))
            if self._wanted_below(branch):
                model = self._pipeline.models[branch.model_id]
                said = model.predict(part, branch.min_confidence, "exact")
                reading = read(branch, region, box, said, model.names)
                if reading.result is not None:
                    self._branches(branch, reading.regions, picture, inputs)

    def _wanted_below(self, node: Node) -> bool:
        return any(one.model_id not in self._same for branch in node.branches for one in branch.walk())

    def _node(self, node: Node, views: Sequence[View]) -> tuple[bool, str]:
        model = self._pipeline.models[node.model_id]
        threshold = node.min_confidence if model.task == "detect" else node.min_result_confidence or 0.0
        least = max(0.01, threshold - MARGIN)
        both: list[list[Prediction]] = []
        precisions: tuple[Precision, ...] = ("exact", "fast")
        for precision in precisions:
            answers: list[Prediction] = []
            for view in views:
                if self._closed.is_set():
                    return False, "closed"
                answers.append(model.predict(view, least, precision))
            both.append(answers)
        classes = [name for name in node.trigger_classes if name in model.names.values()] or None
        result = compare(both[0], both[1], threshold, classes=classes)
        return result.passed, result.reason


def _as_of_a_camera(image: Image) -> View:
    """A view that can be converted and sampled like a camera's frame, and keeps nothing else in memory."""
    height, width = image.shape[:2]
    return View(Frame(decoded_from(image), captured_at=0.0, monotonic=0.0), (0, 0, width, height))


def _within(limit: int, crops: dict[str, list[View]]) -> dict[str, list[View]]:
    """The crops that fit `limit` bytes, smallest first."""
    found = sorted(
        ((name, crop) for name, own in crops.items() for crop in own), key=lambda one: one[1].nbytes
    )
    fitting: dict[str, list[View]] = {}
    for name, crop in found:
        if crop.nbytes > limit:
            break
        limit -= crop.nbytes
        fitting.setdefault(name, []).append(crop)
    return fitting


def _read(path: Path) -> Image | None:
    import cv2

    return cv2.imread(str(path), cv2.IMREAD_COLOR)  # pyright: ignore[reportReturnType]
