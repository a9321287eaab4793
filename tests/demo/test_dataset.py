from pathlib import Path

import cv2
import pytest

from demo.dataset import CROP_PX, DETECTOR_CLASSES, TRAFFIC_SIZES, write_traffic
from demo.scenes.brands import BRANDS
from demo.seeds import TRAFFIC_VALIDATION


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("traffic")
    for kind in ("images", "labels"):
        (root / "detect" / kind / "val").mkdir(parents=True)
    write_traffic(TRAFFIC_VALIDATION[2], "val", root)
    return root


def test_moments_of_traffic_have_labels_within_the_picture(written: Path) -> None:
    pictures = sorted((written / "detect/images/val").iterdir())
    assert len(pictures) > 1
    classes = set[str]()
    for picture in pictures:
        height, width = cv2.imread(str(picture)).shape[:2]
        assert (width, height) in TRAFFIC_SIZES
        for line in (written / "detect/labels/val" / f"{picture.stem}.txt").read_text().splitlines():
            index, x, y, w, h = line.split()
            classes.add(DETECTOR_CLASSES[int(index)])
            assert 0 <= float(x) - float(w) / 2 < float(x) + float(w) / 2 <= 1.000001
            assert 0 <= float(y) - float(h) / 2 < float(y) + float(h) / 2 <= 1.000001
    assert classes == set(DETECTOR_CLASSES)


def test_crops_of_traffic_lie_under_their_names(written: Path) -> None:
    crops = list((written / "brand/val").glob("*/*.png"))
    assert {crop.parent.name for crop in crops} <= set(BRANDS)
    assert {cv2.imread(str(crop)).shape for crop in crops} == {(CROP_PX, CROP_PX, 3)}


def test_the_same_seed_writes_the_same_files(written: Path, tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / "detect" / kind / "val").mkdir(parents=True)
    write_traffic(TRAFFIC_VALIDATION[2], "val", tmp_path)
    files = {file.relative_to(written): file.read_bytes() for file in written.rglob("*.*")}
    assert files == {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*.*")}
