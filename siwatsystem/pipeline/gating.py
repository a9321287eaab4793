"""Lets an archive run *fast* once it said the same as *exact* on pictures.

The pictures are those of the archive's `tests/`, or frames of the camera on which something was
seen. They are compared on a thread of their own, one after the other, so that live frames are only
slowed, never stopped.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from siwatsystem.detections import Prediction
from siwatsystem.errors import SiwatError
from siwatsystem.frames import Image
from siwatsystem.pipeline.branches import crop_box, kept, trigger_of
from siwatsystem.pipeline.events import Event
from siwatsystem.pipeline.executor import Pipeline, crop_of
from siwatsystem.pipeline.node import Node
from siwatsystem.pipeline.regions import best_per_class
from siwatsystem.runtime.backend import Precision
from siwatsystem.runtime.gate import MARGIN, compare

log = logging.getLogger(__name__)

Pictures = Callable[[], Iterable[Image]]
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png"}
FEWEST_COMPARED = 3
"""Crops on which a branch must have been compared; fewer prove nothing."""


MOST_PICTURES = 200
"""Beyond it a branch that is hardly ever reached keeps the archive exact."""


class _TooFew(Exception):
    """A branch was reached too seldom to prove anything; more pictures may help."""


class Gate:
    """Collects pictures for one pipeline and compares them; `close` ends it."""

    def __init__(self, pipeline: Pipeline, pictures: int) -> None:
        self._pipeline = pipeline
        self._wanted = pictures
        self._pictures: list[Image] = []
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
            self._begin(lambda: (image for path in found if (image := _read(path)) is not None))

    def offer(self, image: Image, events: Sequence[Event]) -> None:
        """A frame that was analysed; called on the pool's threads. Kept if something was seen on it."""
        if not events or self._busy or self._closed.is_set():
            return
        with self._lock:
            # Subscriptions that share a frame offer the same picture one after the other.
            if self._busy or (self._pictures and self._pictures[-1] is image):
                return
            self._pictures.append(image)
            if len(self._pictures) < self._wanted:
                return
            self._busy = True
            pictures, self._pictures = self._pictures, []
        self._begin(lambda: pictures)

    def close(self) -> None:
        """Stop comparing; waits for the picture that is under way."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _begin(self, pictures: Pictures) -> None:
        name = f"gate-{self._pipeline.spec.pipeline.model_id}"
        self._thread = threading.Thread(target=self._run, args=(pictures,), name=name, daemon=True)
        self._thread.start()

    def _run(self, pictures: Pictures) -> None:
        passed = False
        try:
            passed, reason = self._judge(list(pictures()))
        except _TooFew as few:
            reason = str(few)
            self._wanted *= 2
            self._busy = self._wanted > MOST_PICTURES
        except SiwatError as error:
            reason = error.message
        except Exception as error:
            # Whatever a runtime makes of the faster precision, exact goes on.
            log.exception("the gate failed")
            reason = f"{type(error).__name__}: {error}"
        if self._closed.is_set():
            return
        name = self._pipeline.spec.pipeline.model_id
        log.info("%s runs %s: %s", name, "fast" if passed else "exact", reason)
        self._pipeline.precision_reason = reason
        if passed:
            self._pipeline.precision = "fast"

    def _judge(self, pictures: list[Image]) -> tuple[bool, str]:
        for model in self._pipeline.models.values():
            model.ensure_fast()
        root = self._pipeline.spec.pipeline
        inputs: dict[str, list[Image]] = {node.model_id: [] for node in root.walk()}
        for image in pictures:
            if self._closed.is_set():
                return False, "closed"
            self._collect(root, image, image, inputs)
        for node in root.walk():
            passed, reason = self._node(node, inputs[node.model_id])
            if not passed:
                return False, f"{node.model_id}: {reason}"
        return True, f"same as exact on {len(pictures)} pictures"

    def _collect(self, node: Node, part: Image, picture: Image, inputs: dict[str, list[Image]]) -> None:
        """The pictures that each node is given, by its exact parents."""
        inputs[node.model_id].append(part)
        if not node.branches:
            return
        said = self._pipeline.models[node.model_id].predict(part, node.min_confidence, "exact")
        if not isinstance(said, tuple) or part is not picture:
            return  # branches below a crop are compared as often as they are reached on whole pictures
        regions = best_per_class(kept(node, said, self._pipeline.models[node.model_id].names))
        for branch in node.branches:
            region = trigger_of(branch, regions)
            box = None if region is None else crop_box(region, picture)
            if box is not None:
                self._collect(branch, crop_of(picture, box if branch.crop else None, branch), picture, inputs)

    def _node(self, node: Node, images: Sequence[Image]) -> tuple[bool, str]:
        if len(images) < FEWEST_COMPARED:
            raise _TooFew(f"{node.model_id} was reached on {len(images)} pictures only")
        model = self._pipeline.models[node.model_id]
        threshold = node.min_confidence if model.task == "detect" else node.min_result_confidence or 0.0
        least = max(0.01, threshold - MARGIN)
        both: list[list[Prediction]] = []
        precisions: tuple[Precision, ...] = ("exact", "fast")
        for precision in precisions:
            answers: list[Prediction] = []
            for image in images:
                if self._closed.is_set():
                    return False, "closed"
                answers.append(model.predict(image, least, precision))
            both.append(answers)
        classes = [name for name in node.trigger_classes if name in model.names.values()] or None
        result = compare(both[0], both[1], threshold, classes=classes)
        return result.passed, result.reason


def _read(path: Path) -> Image | None:
    import cv2

    return cv2.imread(str(path), cv2.IMREAD_COLOR)  # pyright: ignore[reportReturnType]
