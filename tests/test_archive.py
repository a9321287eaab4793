import io
import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siwatsystem import archive
from siwatsystem.config import ModelSettings
from siwatsystem.errors import ModelError, ModelInvalid, ModelRefused

LIMITS = ModelSettings()
PIPELINE = json.dumps({"pipeline": {"modelFile": "a.pt", "branches": [{"modelFile": "nets/b.onnx"}]}})
GOOD = {"pipeline.json": PIPELINE, "a.pt": "weights", "nets/b.onnx": "net"}

Entries = dict[str, str | bytes]


def pack(path: Path, entries: Entries, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def special(name: str, change: Callable[[zipfile.ZipInfo], None]) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    change(info)
    return info


def mode(kind: int) -> Callable[[zipfile.ZipInfo], None]:
    return lambda info: setattr(info, "external_attr", (kind | 0o644) << 16)


def refused(tmp_path: Path, zip_path: Path, limits: ModelSettings = LIMITS) -> str:
    """The refusal, and nothing of the archive anywhere but in itself."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelRefused) as caught:
        archive.extract(zip_path, tmp_path / "out", limits)
    assert sorted(tmp_path.rglob("*")) == before
    return caught.value.message


def test_only_what_is_named_and_tests_leave_the_zip(tmp_path: Path) -> None:
    extra: Entries = {"setup.py": "boom", "tests/one.jpg": "picture", "other.pt": "x", "nets/c.onnx": "x"}
    zip_path = pack(tmp_path / "a.mpta", {**GOOD, **extra})
    folder = archive.extract(zip_path, tmp_path / "new" / "out", LIMITS)
    assert folder == tmp_path / "new" / "out"
    assert archive.files_of(folder) == ["a.pt", "nets/b.onnx", "pipeline.json", "tests/one.jpg"]
    assert (folder / "a.pt").read_text() == "weights"
    assert archive.read_pipeline(folder)["pipeline"]["modelFile"] == "a.pt"
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


def test_one_top_folder_is_taken_off(tmp_path: Path) -> None:
    entries: Entries = {f"car-v2/{name}": data for name, data in GOOD.items()}
    entries["__MACOSX/._pipeline.json"] = "x"
    folder = archive.extract(pack(tmp_path / "a.mpta", entries), tmp_path / "out", LIMITS)
    assert archive.files_of(folder) == ["a.pt", "nets/b.onnx", "pipeline.json"]


def test_an_openvino_network_brings_what_lies_beside_it(tmp_path: Path) -> None:
    pipeline = json.dumps(
        {"pipeline": {"modelFile": "n/net.xml", "tracking": {"reidModel": "reid_openvino_model"}}}
    )
    entries: Entries = {"pipeline.json": pipeline}
    names = ["n/net.xml", "n/net.bin", "n/metadata.yaml", "n/else.bin", "reid_openvino_model/r.xml"]
    entries |= dict.fromkeys(names, "x")
    folder = archive.extract(pack(tmp_path / "a.mpta", entries), tmp_path / "out", LIMITS)
    assert archive.files_of(folder) == sorted({*names, "pipeline.json"} - {"n/else.bin"})


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("../evil", "leads out"),
        ("tests/../../evil", "leads out"),
        ("/etc/cron.d/evil", "absolute"),
        ("C:/evil", "absolute"),
        ("tests\\evil", "backslash"),
        ("tests/./evil", "empty part"),
        ("tests//evil", "empty part"),
        ("tests/a\nb", "control"),
        ("tests/" + "x" * 300, "too long"),
        ("a.pt", "twice"),
        ("a.pt/below", "a file and a folder"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_could_do_harm_are_refused(tmp_path: Path, name: str, word: str) -> None:
    zip_path = pack(tmp_path / "a.mpta", GOOD)
    with zipfile.ZipFile(zip_path, "a") as file:
        file.writestr(name, "x")
    assert word in refused(tmp_path, zip_path)


def test_a_nul_in_a_name_is_refused(tmp_path: Path) -> None:
    zip_path = pack(tmp_path / "a.mpta", {**GOOD, "tests/evilXjpg": "x"})
    zip_path.write_bytes(zip_path.read_bytes().replace(b"evilXjpg", b"evil\0jpg"))
    assert "control" in refused(tmp_path, zip_path)


@pytest.mark.parametrize(
    ("kind", "word"), [(stat.S_IFLNK, "link"), (stat.S_IFIFO, "neither"), (stat.S_IFCHR, "neither")]
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: int, word: str) -> None:
    zip_path = pack(tmp_path / "a.mpta", GOOD)
    with zipfile.ZipFile(zip_path, "a") as file:
        file.writestr(special("tests/evil", mode(kind)), "/etc/passwd")
    message = refused(tmp_path, zip_path)
    assert word in message
    assert "'tests/evil'" in message


def test_encrypted_entries_are_refused(tmp_path: Path) -> None:
    data = bytearray(pack(tmp_path / "a.mpta", GOOD).read_bytes())
    data[data.rindex(b"PK\1\2") + 8] |= 1
    (tmp_path / "a.mpta").write_bytes(data)
    assert "encrypted" in refused(tmp_path, tmp_path / "a.mpta")


def test_other_compressions_are_refused(tmp_path: Path) -> None:
    assert "deflate" in refused(tmp_path, pack(tmp_path / "a.mpta", GOOD, zipfile.ZIP_LZMA))


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    entries: Entries = {**GOOD, **{f"tests/{number}": "" for number in range(30)}}
    zip_path = pack(tmp_path / "a.mpta", entries)
    assert "33 entries" in refused(tmp_path, zip_path, ModelSettings(max_entries=32))
    bloated = pack(tmp_path / "b.mpta", {**GOOD, **{f"tests/{n}": "" for n in range(400)}})
    assert "bloated" in refused(tmp_path, bloated, ModelSettings(max_entries=1))


def test_bombs_are_refused_by_what_they_say(tmp_path: Path) -> None:
    zip_path = pack(tmp_path / "a.mpta", {**GOOD, "tests/zeros": bytes(3 << 20)}, zipfile.ZIP_DEFLATED)
    assert "'tests/zeros' unpacks to more than 100 times" in refused(tmp_path, zip_path)
    generous = ModelSettings(max_ratio=100_000, max_unpacked_mb=2)
    assert "more than 2 MB" in refused(tmp_path, zip_path, generous)


def test_bombs_that_lie_about_their_size_are_caught(tmp_path: Path) -> None:
    zip_path = pack(tmp_path / "a.mpta", {**GOOD, "tests/zeros": bytes(3 << 20)}, zipfile.ZIP_DEFLATED)
    data = zip_path.read_bytes().replace(struct.pack("<I", 3 << 20), struct.pack("<I", 100))
    zip_path.write_bytes(data)
    with pytest.raises(ModelError):
        archive.extract(zip_path, tmp_path / "out", LIMITS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mpta"]


@pytest.mark.parametrize(
    ("entries", "word"),
    [
        ({"a.pt": "x"}, "no pipeline.json"),
        ({"deep/er/pipeline.json": PIPELINE}, "no pipeline.json"),
        ({"a/pipeline.json": PIPELINE, "b/pipeline.json": PIPELINE}, "several"),
        ({"pipeline.json": "{"}, "not JSON"),
        ({"pipeline.json": "[]"}, "an object, not list"),
        ({"pipeline.json": b"\xff\xfe"}, "not JSON"),
        ({"pipeline.json": "[" * 100_000}, "not JSON"),
    ],
)
def test_what_is_no_pipeline_is_invalid(tmp_path: Path, entries: Entries, word: str) -> None:
    with pytest.raises(ModelInvalid, match=word):
        archive.extract(pack(tmp_path / "a.mpta", entries), tmp_path / "out", LIMITS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mpta"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_archive_leaves_nothing(tmp_path: Path, share: float) -> None:
    data = pack(tmp_path / "a.mpta", {**GOOD, "tests/x": os.urandom(50_000)}).read_bytes()
    (tmp_path / "a.mpta").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelInvalid):
        archive.extract(tmp_path / "a.mpta", tmp_path / "out", LIMITS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mpta"]


def test_damaged_bytes_are_found_by_their_checksum(tmp_path: Path) -> None:
    data = pack(tmp_path / "a.mpta", GOOD).read_bytes().replace(b"weights", b"wEights")
    (tmp_path / "a.mpta").write_bytes(data)
    with pytest.raises(ModelInvalid, match="damaged"):
        archive.extract(tmp_path / "a.mpta", tmp_path / "out", LIMITS)


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(FileExistsError):
        archive.extract(pack(tmp_path / "a.mpta", GOOD), tmp_path / "out", LIMITS)
    assert (tmp_path / "out" / "mine").read_text() == "mine"


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    entries: Entries = {**GOOD, "pipeline.json": b"\xef\xbb\xbf" + PIPELINE.encode()}
    folder = archive.extract(pack(tmp_path / "a.mpta", entries), tmp_path / "out", LIMITS)
    assert archive.read_pipeline(folder)


def _sample() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in GOOD.items():
            file.writestr(name, data)
    return buffer.getvalue()


SAMPLE = _sample()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@pytest.mark.filterwarnings("ignore")
def test_whatever_bytes_come_there_is_a_folder_or_one_of_two_errors(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(SAMPLE)
    for place, value in changes:
        data[place] = value
    zip_path, out = tmp_path / "a.mpta", tmp_path / "out"
    zip_path.write_bytes(data)
    try:
        archive.extract(zip_path, out, LIMITS)
    except (ModelInvalid, ModelRefused):
        assert not out.exists()
    else:
        for path in sorted(out.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        out.rmdir()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mpta"]
