"""Which archives a worker opens: signed ones by whom it trusts, and those that pass their own tests."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from demo.scenes import render
from siwatsystem import archive
from siwatsystem.config import ModelSettings
from siwatsystem.packing import pack
from siwatsystem.signatures import sign
from siwatsystem.signing_keys import PrivateKey
from tests.acceptance.archives import DEMO, Shelf, shelf
from tests.acceptance.backend import Backend
from tests.acceptance.conftest import Station
from tests.acceptance.worker import worker

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(300)]
MINE, FOREIGN = PrivateKey.new(), PrivateKey.new()
NAME = "display-1;trust"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's archive, unpacked, with a picture to test it with."""
    folder = archive.extract(DEMO, tmp_path_factory.mktemp("demo") / "demo", ModelSettings())
    (folder / "tests").mkdir()
    assert cv2.imwrite(str(folder / "tests" / "pickup.png"), render(3_500_000, (960, 540)).image)
    expect(folder, "Corvano")
    return folder


@pytest.fixture(scope="module")
def shop(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """Archives that differ in who signed them and what they expect."""
    place = tmp_path_factory.mktemp("shop")
    pack(folder, place / "unsigned.mpta")
    for name, key in (("mine", MINE), ("foreign", FOREIGN)):
        (folder / archive.SIGNATURE).unlink(missing_ok=True)
        sign(folder, archive.files_of(folder), key)
        pack(folder, place / f"{name}.mpta")
    (folder / archive.SIGNATURE).unlink()
    with zipfile.ZipFile(place / "mine.mpta") as old, zipfile.ZipFile(place / "changed.mpta", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data.replace(b"0.5", b"0.4") if name == "pipeline.json" else data)
    (place / "bare.pt").write_bytes((folder / "car_frontal_detection.pt").read_bytes())
    expect(folder, "Aster")
    pack(folder, place / "wrong.mpta")
    expect(folder, "Corvano")
    with shelf(place) as server:
        yield server


def expect(folder: Path, brand: str) -> None:
    case = {"file": "pickup.png", "expect": [{"class": "Car", "attributes": {"carBrand": brand}}]}
    (folder / "tests" / "expected.json").write_text(json.dumps({"cases": [case]}))


def refusal(backend: Backend, station: Station, shop: Shelf, name: str) -> str:
    """Why the worker does not open that archive."""
    backend.subscribe(NAME, rtsp_url=station.camera(0), model_url=shop.url(name))
    error = backend.until_error("model_refused", timeout=120)
    backend.unsubscribe(NAME)
    assert error["subscriptionIdentifier"] == NAME
    return str(error["error"])


def accepted(backend: Backend, station: Station, shop: Shelf, name: str) -> None:
    """The worker opens that archive and sees something with it."""
    backend.subscribe(NAME, rtsp_url=station.camera(0), model_url=shop.url(name))
    found = backend.until(
        lambda message: (
            message["type"] == "imageDetection"
            or (
                message["type"] == "error"
                and message["code"].startswith("model_")
                and not message.get("resolved")
            )
        ),
        "detection",
        timeout=120,
    )
    assert found["type"] == "imageDetection", found
    backend.unsubscribe(NAME)


def test_only_what_a_trusted_key_signed_is_opened(tmp_path: Path, station: Station, shop: Shelf) -> None:
    settings = {
        "SIWAT_REQUIRE_SIGNATURE": "true",
        "SIWAT_MODELS__TRUSTED_KEYS": json.dumps([MINE.public.base64]),
    }
    with worker(tmp_path, **settings) as running, running.backend() as backend:
        assert "not signed" in refusal(backend, station, shop, "unsigned.mpta")
        assert "pipeline.json" in refusal(backend, station, shop, "changed.mpta")
        assert FOREIGN.public.fingerprint in refusal(backend, station, shop, "foreign.mpta")
        assert "bare model file cannot be signed" in refusal(backend, station, shop, "bare.pt")
        accepted(backend, station, shop, "mine.mpta")


def test_changed_bytes_never_and_only_what_passes_its_tests(
    tmp_path: Path, station: Station, shop: Shelf
) -> None:
    with worker(tmp_path, SIWAT_MODELS__RUN_TESTS="true") as running, running.backend() as backend:
        assert "pipeline.json" in refusal(backend, station, shop, "changed.mpta")
        why = refusal(backend, station, shop, "wrong.mpta")
        assert "tests/pickup.png" in why
        assert "carBrand Aster" in why
        accepted(backend, station, shop, "foreign.mpta")
    log = tmp_path / "detector_worker.log"
    assert log.read_text().count("tests of the archive") == 2
    with worker(tmp_path, SIWAT_MODELS__RUN_TESTS="true") as running, running.backend() as backend:
        assert "tests/pickup.png" in refusal(backend, station, shop, "wrong.mpta")
        accepted(backend, station, shop, "foreign.mpta")
    assert log.read_text().count("tests of the archive") == 2


def test_a_bad_trusted_key_stops_the_start(tmp_path: Path) -> None:
    settings = {"SIWAT_MODELS__TRUSTED_KEYS": json.dumps([MINE.public.base64, "nix.pub"])}
    told = r"models\.trusted_keys\[1\] = 'nix\.pub': neither"
    with pytest.raises(AssertionError, match=told), worker(tmp_path, **settings):
        pass
