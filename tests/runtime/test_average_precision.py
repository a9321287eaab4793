"""mAP50-95 by value, and against ultralytics' own on random boxes."""

import json
import subprocess
import sys

import numpy as np
import pytest

from siwatsystem.detections import Detection
from siwatsystem.runtime.average_precision import mean_average_precision
from tests.nets import ROOT

BOX = (0.0, 0.0, 100.0, 100.0)


def test_by_value():
    assert mean_average_precision([()], [[]]) is None
    assert mean_average_precision([()], [[("Car", BOX)]]) == 0
    assert mean_average_precision([(Detection("Car", 0.9, BOX),)], [[("Car", BOX)]]) == pytest.approx(
        1, abs=0.006
    )
    # IoU 0.8: right up to the threshold 0.80, seven of ten.
    assert mean_average_precision(
        [(Detection("Car", 0.9, (0, 0, 100, 80.01)),)], [[("Car", BOX)]]
    ) == pytest.approx(0.7, abs=0.006)
    # One class perfect, one never found.
    assert mean_average_precision(
        [(Detection("Car", 0.9, BOX),)], [[("Car", BOX), ("Frontal", BOX)]]
    ) == pytest.approx(0.5, abs=0.006)


def test_a_true_box_is_found_once():
    twice = (Detection("Car", 0.9, BOX), Detection("Car", 0.8, BOX))
    apart = [("Car", BOX), ("Car", (500.0, 0.0, 600.0, 100.0))]
    assert mean_average_precision([twice], [apart]) == pytest.approx(0.5, abs=0.01)


def test_agrees_with_ultralytics(tmp_path):
    rng = np.random.default_rng(5)
    truth, predictions, flat = [], [], {"tp": [], "conf": [], "cls": [], "true": []}
    from siwatsystem.runtime.average_precision import _hits

    for _ in range(30):
        boxes = [(name, (x, y, x + 60.0, y + 40.0)) for name in "AB" for x, y in rng.uniform(0, 900, (3, 2))]
        seen = [
            Detection(name, float(rng.uniform(0.1, 1)), tuple(np.array(box) + rng.normal(0, 4, 4)))
            for name, box in boxes
            if rng.random() < 0.8
        ]
        seen += [Detection("A", float(rng.uniform(0.05, 0.6)), (950.0, 950.0, 990.0, 990.0))]
        truth.append(boxes)
        predictions.append(tuple(seen))
        for index, name in enumerate("AB"):
            mine = sorted((one for one in seen if one.class_name == name), key=lambda one: -one.confidence)
            hits = _hits([one.xyxy for one in mine], [box for label, box in boxes if label == name])
            flat["tp"] += [row.tolist() for row in hits]
            flat["conf"] += [one.confidence for one in mine]
            flat["cls"] += [index] * len(mine)
            flat["true"] += [index] * 3
    code = f"""
import json, numpy as np
from siwatsystem.runtime.silence import silence
silence()
from ultralytics.utils.metrics import ap_per_class
flat = json.load(open({str(tmp_path / "flat.json")!r}))
print(ap_per_class(*(np.array(flat[key]) for key in ("tp", "conf", "cls", "true")))[5].mean())
"""
    (tmp_path / "flat.json").write_text(json.dumps(flat))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert mean_average_precision(predictions, truth) == pytest.approx(
        float(done.stdout.split()[-1]), abs=1e-3
    )
