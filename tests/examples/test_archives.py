import json
import shutil
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from demo.scenes import Clip, Visit
from examples.counter.clips import THREE_CARS
from examples.opened import Collected, opened
from examples.pack import NAMES, archive_of, complete, source_of
from examples.plates import measure
from examples.plates.scenes import EVALUATION, SHIPPED, TRAINING, VALIDATION, render
from siwatsystem.expectations import read_cases
from siwatsystem.packing import pack
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.spec import parse
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.pipeline.warnings import warnings_of

SEEDS = EVALUATION[500:512]
# A display, a moment: what the worker would give along.
CONTEXT = EventContext("display-1;cam-1", "display-1", 77, 1_700_000_000.0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both archives have the car detector: it is exported once."""
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def plates(exported: Path) -> Iterator[tuple[Pipeline, Collected]]:
    with opened(archive_of("plates"), exported) as found:
        yield found


@pytest.fixture(scope="module")
def counter(exported: Path) -> Iterator[tuple[Pipeline, Collected]]:
    with opened(archive_of("counter"), exported) as found:
        yield found


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_archive_is_what_packing_its_folder_gives(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    shutil.copytree(source_of(name), folder)
    (folder / "car_frontal_detection.pt").unlink(missing_ok=True)
    assert pack(complete(folder), tmp_path / "again.mpta").read_bytes() == archive_of(name).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_pipeline_says_nothing_to_warn_of_and_its_tests_are_valid(name: str) -> None:
    folder = source_of(name)
    spec = parse(json.loads((folder / "pipeline.json").read_text()))
    assert warnings_of(spec) == []
    assert read_cases(folder, spec)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shipped_along_is_small(name: str) -> None:
    files = [path for path in (source_of(name) / "tests").iterdir() if path.suffix != ".json"]
    assert files
    assert all(path.stat().st_size <= (150_000 if path.suffix == ".jpg" else 400_000) for path in files)


def test_the_examples_are_small_together() -> None:
    assert sum(archive_of(name).stat().st_size for name in NAMES) <= 13_000_000


def test_the_models_trained_here_say_nothing_of_where() -> None:
    with zipfile.ZipFile(archive_of("plates")) as archive:
        models = [archive.read(name) for name in archive.namelist() if name.startswith("plate_")]
    assert len(models) == 2
    assert not any(
        word in model for model in models for word in (b"/home/", b"/root/", b"/tmp/", b"data.yaml")
    )


def test_seeds_that_train_never_measure() -> None:
    ranges = (TRAINING, VALIDATION, EVALUATION, SHIPPED)
    assert len({seed for seeds in ranges for seed in seeds}) == sum(len(seeds) for seeds in ranges)


def test_a_model_that_neither_the_folder_nor_the_demo_has_is_an_error(tmp_path: Path) -> None:
    node = {"modelId": "a", "modelFile": "nobody_has_it.pt", "minConfidence": 0.5, "triggerClasses": ["Car"]}
    (tmp_path / "pipeline.json").write_text(json.dumps({"pipeline": node}))
    with pytest.raises(KeyError):
        complete(tmp_path)


def test_plates_are_found_inside_their_cars_and_their_types_are_right(
    plates: tuple[Pipeline, Collected],
) -> None:
    pipeline, collected = plates
    collected.jobs.clear()
    total, with_plate, types = measure.Tally(), 0, set[object]()
    for seed in SEEDS:
        scene = render(seed)
        events = pipeline.run(scene.image, CONTEXT)
        total += measure.match(scene.cars, scene.plates, events)
        for event in events:
            branch = event.branches.get("plate_detection")
            if branch is None:
                continue
            with_plate += 1
            types.add(event.attributes.get("licensePlateType"))
            x1, y1, x2, y2 = event.xyxy
            best = max(branch.boxes, key=lambda box: box.confidence).xyxy
            middle = ((best[0] + best[2]) / 2, (best[1] + best[3]) / 2)
            assert x1 <= middle[0] <= x2
            assert y1 <= middle[1] <= y2
            # A detector's edges are its own: the plate may reach over the car's by a little.
            assert best[0] >= x1 - 4
            assert best[2] <= x2 + 4
            assert best[3] <= y2 + 4
    assert total.cars >= 8
    assert total.cars_found == total.cars
    # The worst of these plates is hardly seven pixels high: one may be missed, none may be misread.
    assert total.plates_found >= total.cars - 1
    assert total.types_right == total.plates_found
    assert len(types) >= 3
    images = collected.of_kind("redis_save_image")
    assert len(images) == with_plate
    records = collected.of_kind("postgresql_update_combined")
    written = {job.payload["fields"]["license_type"] for job in records}
    assert written
    assert written <= {"private", "commercial", "electric", "diplomatic"}


def test_a_picture_without_cars_has_no_plates(plates: tuple[Pipeline, Collected]) -> None:
    pipeline, _ = plates
    empty = Clip(9_100_003, "overcast", (), seconds=1.0).frame(0).image
    assert pipeline.run(empty, CONTEXT) == []


def counted(
    pipeline: Pipeline, collected: Collected, frames: Iterator[np.ndarray], fps: float
) -> list[dict[str, object]]:
    """The messages that the counter publishes over a clip."""
    collected.jobs.clear()
    state = PipelineState()
    for index, image in enumerate(frames):
        context = EventContext("display-1;cam-1", "display-1", None, 1_700_000_000 + index / fps)
        pipeline.run(image, context, state=state)
    assert {job.kind for job in collected.jobs} <= {"redis_publish"}
    assert {job.payload["channel"] for job in collected.jobs} <= {"car_count"}
    return [json.loads(job.payload["message"]) for job in collected.jobs]


def test_each_car_that_enters_the_zone_is_told_once(counter: tuple[Pipeline, Collected]) -> None:
    clip = Clip(
        9_100_005,
        "overcast",
        seconds=22.0,
        fps=2,
        size=(480, 272),
        visits=(
            Visit("Corvano", "Sedan", 2, 1, 0.2),
            Visit("Eldra", "SUV", 9, 2, 1.4, 9.0),
            # Where the first one stood before: another car all the same.
            Visit("Aster", "Hatchback", 6, 1, 8.8, 9.5),
        ),
    )
    frames = (clip.frame(index).image for index in range(clip.frames))
    told = counted(*counter, frames, clip.fps)
    assert [message["id"] for message in told] == [1, 2, 3]
    assert {message["class"] for message in told} == {"Car"}
    assert {message["event"] for message in told} == {"car_entered"}
    assert all(message["timestamp"] for message in told)


def test_a_car_that_stands_outside_the_zone_is_not_told(counter: tuple[Pipeline, Collected]) -> None:
    pipeline, collected = counter
    assert len(THREE_CARS.visits) == 3
    with av.open(str(source_of("counter") / "tests" / "three-cars.mp4")) as container:
        assert container.streams.video[0].average_rate == Fraction(THREE_CARS.fps)
        frames = (frame.to_ndarray(format="bgr24") for frame in container.decode(video=0))
        told = counted(pipeline, collected, frames, THREE_CARS.fps)
    assert [message["id"] for message in told] == [1, 2]


def test_the_shipped_models_say_nothing_of_where_they_were_trained() -> None:
    for name in ("plate_detection.pt", "plate_type_classification.pt"):
        model = (source_of("plates") / name).read_bytes()
        assert [word for word in (b"/home/", b"/root/", b"/tmp/", b"/examples/") if word in model] == []
