"""Whether *fast* says the same as *exact*: compared by value, nothing is run here.

The rules are the contract's: the same events on every picture; classes that agree wherever the
exact confidence is further than 0.03 from the threshold; where truth is known, mAP50-95 no more
than half a point lower.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from siwatsystem.detections import Classification, Detection, Prediction, iou
from siwatsystem.runtime.average_precision import TrueBox, mean_average_precision

MARGIN = 0.03
MAX_MAP_LOSS = 0.005


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted. IoUs are those of exact boxes with the fast box of the same class."""

    pictures: int
    compared: int
    near_threshold: int
    median_iou: float | None
    least_iou: float | None
    exact_map: float | None
    fast_map: float | None


@dataclass(frozen=True, slots=True)
class GateResult:
    """`reason` says why it did not pass, or on how much it passed."""

    passed: bool
    reason: str
    figures: Figures


def compare(
    exact: Sequence[Prediction],
    fast: Sequence[Prediction],
    threshold: float,
    truth: Sequence[Sequence[TrueBox]] | None = None,
    classes: Sequence[str] | None = None,
) -> GateResult:
    """Compare predictions of the same pictures, made with a least confidence ≤ threshold − 0.03.

    `threshold` is the node's `minConfidence` (for a classification its `minResultConfidence`),
    `classes` its `triggerClasses` where they restrict it. Raises ValueError where the two differ
    in length or there is nothing to compare on.
    """
    if len(exact) != len(fast) or (truth is not None and len(truth) != len(exact)):
        raise ValueError("the gate compares predictions of the same pictures")
    counted = _Count()
    reason = ""
    for index, (one, other) in enumerate(zip(exact, fast, strict=True)):
        reason = reason or _picture(index, one, other, threshold, classes, counted)
    maps = _maps(exact, fast, truth)
    if not reason and not counted.compared:
        reason = "nothing was seen on any picture: there is nothing to compare"
    if not reason and maps[0] is not None and maps[1] is not None and maps[1] < maps[0] - MAX_MAP_LOSS:
        reason = f"mAP50-95 falls from {maps[0]:.4f} to {maps[1]:.4f}"
    figures = counted.figures(len(exact), maps)
    passed = not reason
    return GateResult(passed, reason or f"same events on {len(exact)} pictures", figures)


class _Count:
    def __init__(self) -> None:
        self.compared = 0
        self.near = 0
        self.ious: list[float] = []

    def figures(self, pictures: int, maps: tuple[float | None, float | None]) -> Figures:
        median = float(np.median(self.ious)) if self.ious else None
        least = min(self.ious, default=None)
        return Figures(pictures, self.compared, self.near, median, least, *maps)


def _picture(
    index: int,
    exact: Prediction,
    fast: Prediction,
    threshold: float,
    classes: Sequence[str] | None,
    counted: _Count,
) -> str:
    """Why the two differ on this picture; empty where they do not."""
    if isinstance(exact, Classification) and isinstance(fast, Classification):
        return _classified(index, exact, fast, threshold, counted)
    if isinstance(exact, Classification) or isinstance(fast, Classification):
        raise ValueError("the gate compares predictions of the same model")
    best_exact, best_fast = _best(exact, classes), _best(fast, classes)
    for name in sorted(best_exact.keys() | best_fast.keys()):
        one, other = best_exact.get(name), best_fast.get(name)
        confidences = [seen.confidence if seen else 0.0 for seen in (one, other)]
        if max(confidences) < threshold:
            continue
        counted.compared += 1
        if one and other:
            counted.ious.append(max(iou(one.xyxy, seen.xyxy) for seen in fast if seen.class_name == name))
        if min(confidences) >= threshold:
            continue
        if abs(confidences[0] - threshold) <= MARGIN and abs(confidences[1] - threshold) <= MARGIN:
            counted.near += 1
            continue
        return f"picture {index}: {name} has {confidences[0]:.3f} exact and {confidences[1]:.3f} fast"
    return ""


def _classified(
    index: int, exact: Classification, fast: Classification, threshold: float, counted: _Count
) -> str:
    if max(exact.confidence, fast.confidence) < threshold:
        return ""
    counted.compared += 1
    same = exact.class_name == fast.class_name
    crossed = min(exact.confidence, fast.confidence) < threshold
    if same and not crossed:
        return ""
    confidences = exact.confidence, fast.confidence
    if crossed and all(abs(confidence - threshold) <= MARGIN for confidence in confidences):
        counted.near += 1
        return ""
    return (
        f"picture {index}: {exact.class_name} {exact.confidence:.3f} exact,"
        f" {fast.class_name} {fast.confidence:.3f} fast"
    )


def _best(seen: Sequence[Detection], classes: Sequence[str] | None) -> dict[str, Detection]:
    """The most confident box of each class of interest: what an event is made of."""
    out: dict[str, Detection] = {}
    for item in seen:
        known = out.get(item.class_name)
        if (classes is None or item.class_name in classes) and (
            known is None or item.confidence > known.confidence
        ):
            out[item.class_name] = item
    return out


def _maps(
    exact: Sequence[Prediction], fast: Sequence[Prediction], truth: Sequence[Sequence[TrueBox]] | None
) -> tuple[float | None, float | None]:
    if truth is None:
        return None, None
    exact_boxes, fast_boxes = [_boxes(one) for one in exact], [_boxes(one) for one in fast]
    return mean_average_precision(exact_boxes, truth), mean_average_precision(fast_boxes, truth)


def _boxes(prediction: Prediction) -> Sequence[Detection]:
    return () if isinstance(prediction, Classification) else prediction
