"""How an archive comes to run fast: by value, with scripted models."""

import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from siwatsystem.config import RuntimeSettings
from siwatsystem.detections import Classification, Detection, Prediction
from siwatsystem.pipeline import gating
from siwatsystem.pipeline.events import Event, EventContext
from siwatsystem.pipeline.opening import OpenPipeline, open_pipeline
from siwatsystem.testing import FakeModel, FakeRegistry, RecordingOutbox
from siwatsystem.views import View
from tests.servers import until

CAR = Detection("Car", 0.9, (10, 20, 110, 80))
FAINT = Detection("Car", 0.2, (10, 20, 110, 80))
PICTURE = np.repeat(np.random.default_rng(1).integers(0, 255, (100, 200, 1), np.uint8), 3, axis=2)
"""Grey, so that it stays what it is in the form that cameras' pictures have."""
SETTINGS = RuntimeSettings(gate_pictures=3)
PIPELINE = """{"pipeline": {"modelId": "cars", "modelFile": "cars.pt", "minConfidence": 0.5,
 "triggerClasses": ["Car"], "branches": [{"modelId": "brand", "modelFile": "brand.pt",
 "minConfidence": 0.5, "triggerClasses": ["Car"], "crop": true}]}}"""


class Bench:
    def __init__(self, folder: Path, threads: ThreadPoolExecutor) -> None:
        self.folder = folder
        self.opened: list[OpenPipeline] = []
        self._threads = threads
        (folder / "pipeline.json").write_text(PIPELINE)
        for name in ("cars.pt", "brand.pt"):
            (folder / name).touch()

    def picture(self, count: int) -> None:
        (self.folder / "tests").mkdir()
        for number in range(count):
            cv2.imwrite(str(self.folder / "tests" / f"{number}.png"), PICTURE)

    def open(
        self,
        fast: Prediction | Callable[[Any], Prediction] | None,
        brand: str = "Honda",
        settings: RuntimeSettings = SETTINGS,
    ) -> OpenPipeline:
        registry = FakeRegistry(
            {
                "cars.pt": FakeModel((CAR,), ["Car"], fast_answer=fast),
                "brand.pt": FakeModel(
                    Classification("Honda", 0.9), ["Honda", "Kia"], "classify", Classification(brand, 0.9)
                ),
            }
        )
        opened = open_pipeline(self.folder, registry, RecordingOutbox(), self._threads, settings)  # type: ignore[arg-type]
        self.opened.append(opened)
        return opened


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with ThreadPoolExecutor(2) as threads:
        bench = Bench(tmp_path, threads)
        yield bench
        for opened in bench.opened:
            opened.close()


def run(opened: OpenPipeline, times: int) -> None:
    for _ in range(times):
        opened.pipeline.run(PICTURE.copy(), EventContext())


def test_it_becomes_fast_on_frames_that_say_the_same(bench: Bench) -> None:
    opened = bench.open((CAR,))
    run(opened, 2)
    assert opened.pipeline.precision == "exact"
    run(opened, 1)
    until(lambda: opened.pipeline.precision == "fast")
    assert "same as exact" in opened.pipeline.precision_reason


def test_of_many_test_pictures_some_are_chosen_all_over(bench: Bench) -> None:
    bench.picture(2 * gating.MOST_TEST_PICTURES + 1)
    opened = bench.open((CAR,))
    until(lambda: opened.pipeline.precision == "fast")
    compared = int(opened.pipeline.precision_reason.split()[-2])
    assert gating.MOST_TEST_PICTURES / 2 < compared <= gating.MOST_TEST_PICTURES


def test_it_stays_exact_where_a_box_is_lost_and_says_so(bench: Bench) -> None:
    opened = bench.open((FAINT,))
    run(opened, 3)
    until(lambda: "0.200 fast" in opened.pipeline.precision_reason)
    assert opened.pipeline.precision == "exact"


def test_it_stays_exact_where_a_branch_says_another_class(bench: Bench) -> None:
    opened = bench.open((CAR,), brand="Kia")
    run(opened, 3)
    until(lambda: "Kia" in opened.pipeline.precision_reason)
    assert opened.pipeline.precision == "exact"


def test_subscriptions_that_share_a_frame_give_it_once(bench: Bench) -> None:
    opened = bench.open((CAR,))
    for _ in range(10):
        opened.pipeline.run(PICTURE, EventContext())
    run(opened, 1)
    assert "no picture was compared" in opened.pipeline.precision_reason
    run(opened, 1)
    until(lambda: opened.pipeline.precision == "fast")


def test_a_branch_that_was_not_reached_is_waited_for(bench: Bench) -> None:
    opened = bench.open((CAR,))
    cars = opened.pipeline.models["cars"]
    weak = Detection("Car", 0.6, CAR.xyxy)
    strong, cars._answers = cars._answers, {"exact": (weak,), "fast": (weak,)}  # type: ignore[attr-defined]
    opened.pipeline.spec.pipeline.branches[0].__dict__["min_confidence"] = 0.7
    run(opened, 3)
    until(lambda: "brand was reached on 0 pictures" in opened.pipeline.precision_reason)
    cars._answers = strong  # type: ignore[attr-defined]
    run(opened, 6)
    until(lambda: opened.pipeline.precision == "fast")


def test_closing_does_not_wait_for_a_model_that_hangs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread closes all pipelines: it must come back."""
    monkeypatch.setattr(gating, "CLOSE_SEC", 0.2)
    busy, go = threading.Event(), threading.Event()

    def hang(_: object) -> tuple[Detection, ...]:
        busy.set()
        assert go.wait(30)
        return (CAR,)

    opened = bench.open(hang)
    run(opened, 3)
    assert busy.wait(30)
    closing = threading.Thread(target=opened.close)
    closing.start()
    closing.join(20)
    ended = not closing.is_alive()
    go.set()
    closing.join()
    assert ended


def test_frames_without_anything_prove_nothing(bench: Bench) -> None:
    opened = bench.open((CAR,))
    opened.pipeline.models["cars"]._answers = {"exact": (), "fast": ()}  # type: ignore[attr-defined]
    run(opened, 5)
    assert "no picture was compared" in opened.pipeline.precision_reason


def test_the_archives_own_pictures_are_compared_at_once(bench: Bench) -> None:
    bench.picture(3)
    opened = bench.open((CAR,))
    until(lambda: opened.pipeline.precision == "fast")


def test_too_few_pictures_in_the_archive_leave_it_to_frames(bench: Bench) -> None:
    bench.picture(1)
    opened = bench.open((CAR,))
    run(opened, 3)
    until(lambda: opened.pipeline.precision == "fast")


def test_a_machine_without_fast_models_stays_exact(bench: Bench) -> None:
    opened = bench.open(None)
    assert (opened.pipeline.precision, "nothing faster" in opened.pipeline.precision_reason) == (
        "exact",
        True,
    )


def test_exact_can_be_set(bench: Bench) -> None:
    opened = bench.open((CAR,), settings=RuntimeSettings(precision="exact", gate_pictures=1))
    run(opened, 3)
    assert (opened.pipeline.precision, opened.pipeline.precision_reason) == ("exact", "set to exact")


NESTED = """{"pipeline": {"modelId": "cars", "modelFile": "cars.pt", "minConfidence": 0.5,
 "triggerClasses": ["Car"], "branches": [{"modelId": "plate", "modelFile": "plate.pt",
 "minConfidence": 0.5, "triggerClasses": ["Car", "Plate"], "crop": true, "branches": [
 {"modelId": "brand", "modelFile": "brand.pt", "minConfidence": 0.5, "triggerClasses": ["Plate"],
 "crop": true, "cropClass": "Plate"}]}]}}"""


def nested(bench: Bench) -> OpenPipeline:
    (bench.folder / "pipeline.json").write_text(NESTED)
    (bench.folder / "plate.pt").touch()
    plate = (Detection("Plate", 0.9, (5, 6, 25, 16)),)
    honda = Classification("Honda", 0.9)
    models = {
        "cars.pt": FakeModel((CAR,), ["Car"], fast_answer=(CAR,)),
        "plate.pt": FakeModel(plate, ["Plate"], fast_answer=plate),
        "brand.pt": FakeModel(honda, ["Honda"], "classify", honda),
    }
    opened = open_pipeline(
        bench.folder,
        FakeRegistry(models),  # type: ignore[arg-type]
        RecordingOutbox(),
        bench._threads,
        SETTINGS,
    )
    bench.opened.append(opened)
    return opened


def test_a_branch_below_a_cropped_branch_is_compared_on_its_part_of_the_picture(bench: Bench) -> None:
    opened = nested(bench)
    run(opened, 3)
    until(lambda: opened.pipeline.precision == "fast")
    seen = opened.pipeline.models["brand"].seen  # type: ignore[attr-defined]
    assert len(seen) == 3 + 2 * 3, "three pictures, compared in two precisions"
    wanted = PICTURE[26:36, 15:35].astype(int)
    assert all(part.shape == wanted.shape and np.abs(part - wanted).max() <= 6 for part in seen)


def test_between_rounds_only_crops_are_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, crop = View.of(PICTURE), View.of(PICTURE).part((0, 0, 50, 40))
    kept = gating._within(2 * 3 * 40 * 50, {"a": [whole], "b": [crop, crop, crop]})
    assert {name: len(own) for name, own in kept.items()} == {"b": 2}
    opened = bench.open((CAR,))
    cars = opened.pipeline.models["cars"]
    weak = Detection("Car", 0.6, CAR.xyxy)
    cars._answers = {"exact": (weak,), "fast": (weak,)}  # type: ignore[attr-defined]
    opened.pipeline.spec.pipeline.branches[0].__dict__["min_confidence"] = 0.7
    monkeypatch.setattr(gating, "MOST_ROUNDS", 2)
    gate = gating.Gate(opened.pipeline, 3)
    event = Event(CAR)
    large = np.zeros((1000, 200, 3), np.uint8)
    for number in range(2):
        gate.offer(View.of(large[number : number + 100]), [event])
    assert len(gate._pictures) == 2
    held = weakref.ref(large)
    del large
    assert held() is None, "a crop keeps its whole picture in memory"
    gate.offer(View.of(PICTURE.copy()), [event])
    until(lambda: gate._rounds == 1 and not gate._busy)
    assert (gate._pictures, gate._kept) == ([], {})
    for _ in range(3):
        gate.offer(View.of(PICTURE.copy()), [event])
    until(lambda: "given up after 2 rounds" in opened.pipeline.precision_reason)
    assert opened.pipeline.precision == "exact"
    gate.close()
