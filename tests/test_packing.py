import errno
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from siwatsystem import archive
from siwatsystem.config import ModelSettings
from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.packing import contents, pack
from siwatsystem.pipeline.spec import PipelineInvalid

PIPELINE: dict[str, Any] = {
    "pipeline": {"modelId": "a", "modelFile": "nets/a.pt", "minConfidence": 0.5, "triggerClasses": ["Car"]}
}
FILES = {
    "pipeline.json": json.dumps(PIPELINE),
    "nets/a.pt": "weights" * 9999,
    "tests/Zoë.txt": "a",
    "b.md": "",
}
DIGEST = "da15aa138773ef5d0aedb30a3d895a5d44a2ae6eab144f89481665808cbe6b03"
"""Of the archive of FILES, calculated once."""


def fill(folder: Path, files: dict[str, str] = FILES) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_the_same_files_give_the_same_bytes_whatever_else_differs(tmp_path: Path) -> None:
    one = fill(tmp_path / "one")
    other = fill(tmp_path / "elsewhere" / "other", dict(reversed(FILES.items())))
    for path in other.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o400)
        os.utime(path, (1, 10**9))
    (other / "__pycache__").mkdir()
    (other / "empty").mkdir()
    fill(other, {".git/config": "x", "__pycache__/x.pyc": "x", "b.md~": "old"})
    first = pack(one, tmp_path / "1.mpta")
    assert first == tmp_path / "1.mpta"
    assert pack(other, tmp_path / "2.mpta").read_bytes() == first.read_bytes()
    (one / "b.md").write_text("changed")
    assert pack(one, tmp_path / "3.mpta").read_bytes() != first.read_bytes()


def test_another_machine_comes_to_the_same_digest(tmp_path: Path) -> None:
    packed = pack(fill(tmp_path / "in"), tmp_path / "a.mpta")
    assert hashlib.sha256(packed.read_bytes()).hexdigest() == DIGEST


def test_nothing_in_it_says_where_or_when_it_was_made(tmp_path: Path) -> None:
    with zipfile.ZipFile(pack(fill(tmp_path / "in"), tmp_path / "a.mpta")) as made:
        entries = made.infolist()
    assert [entry.filename for entry in entries] == sorted(FILES)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {(entry.external_attr >> 16, entry.create_system, entry.extra) for entry in entries} == {
        (0o100644, 3, b"")
    }


def test_a_worker_opens_it(tmp_path: Path) -> None:
    packed = pack(fill(tmp_path / "in"), tmp_path / "a.mpta")
    folder = archive.extract(packed, tmp_path / "out", ModelSettings())
    assert archive.files_of(folder) == ["nets/a.pt", "pipeline.json", "tests/Zoë.txt"]
    assert (folder / "nets/a.pt").read_text() == FILES["nets/a.pt"]


def test_what_stays_out_is_named(tmp_path: Path) -> None:
    extra = [
        ".env",
        ".git/config",
        "nets/__pycache__/a.pyc",
        "nets/.a.swp",
        "b.md~",
        "old.mpta",
        "pipeline.schema.json",
    ]
    found = contents(fill(tmp_path, FILES | dict.fromkeys(extra, "x")))
    assert found.files == tuple(sorted(FILES))
    assert found.left_out == (
        ".env", ".git/", "b.md~", "nets/.a.swp", "nets/__pycache__/", "old.mpta", "pipeline.schema.json",
    )  # fmt: skip


def test_packing_into_the_folder_itself_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    first = pack(tmp_path, tmp_path / "a.mpta").read_bytes()
    assert pack(tmp_path, tmp_path / "a.mpta").read_bytes() == first


def test_every_mistake_is_told_and_nothing_written(tmp_path: Path) -> None:
    wrong = {"pipeline": PIPELINE["pipeline"] | {"modelFile": "absent.pt", "minConfidence": 2}}
    fill(tmp_path / "in", FILES | {"pipeline.json": json.dumps(wrong)})
    (tmp_path / "a.mpta").write_text("old")
    with pytest.raises(PipelineInvalid) as caught:
        pack(tmp_path / "in", tmp_path / "a.mpta")
    assert [problem.path for problem in caught.value.problems] == [
        "pipeline.minConfidence",
        "pipeline.modelFile",
    ]
    assert (tmp_path / "a.mpta").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mpta", "in"]


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (ModelSettings(max_entries=3), "4 entries"),
        (ModelSettings(max_unpacked_mb=1), "more than 1 MB"),
        (ModelSettings(max_archive_mb=1), "larger than 1 MB"),
    ],
)
def test_what_a_worker_would_refuse_is_refused(tmp_path: Path, limits: ModelSettings, word: str) -> None:
    fill(tmp_path / "in", FILES | {"nets/a.pt": "x" * (2 << 20)})
    with pytest.raises(ModelRefused, match=word):
        pack(tmp_path / "in", tmp_path / "a.mpta", limits)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("name", ["back\\slash", "line\nbreak"])
def test_names_that_a_worker_refuses_are_refused(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "in", FILES | {f"tests/{name}": "x"})
    with pytest.raises(ModelRefused, match="in its name"):
        pack(tmp_path / "in", tmp_path / "a.mpta")


def test_a_name_that_is_no_text_is_said(tmp_path: Path) -> None:
    fill(tmp_path / "in")
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xff.jpg")).write_text("x")
    with pytest.raises(ModelRefused, match="not UTF-8"):
        pack(tmp_path / "in", tmp_path / "a.mpta")


def test_links_and_pipes_are_refused(tmp_path: Path) -> None:
    (fill(tmp_path / "in") / "tests" / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(ModelRefused, match="'tests/passwd' is a link"):
        pack(tmp_path / "in", tmp_path / "a.mpta")
    (tmp_path / "in/tests/passwd").unlink()
    os.mkfifo(tmp_path / "in/tests/pipe")
    with pytest.raises(ModelRefused, match="'tests/pipe' is neither"):
        pack(tmp_path / "in", tmp_path / "a.mpta")


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_folder_without_a_pipeline_is_invalid(tmp_path: Path, text: str | None) -> None:
    fill(tmp_path / "in", {"a.pt": "x"} | ({} if text is None else {"pipeline.json": text}))
    with pytest.raises(ModelInvalid, match=r"pipeline\.json"):
        pack(tmp_path / "in", tmp_path / "a.mpta")


def test_a_full_disk_keeps_the_old_archive(tmp_path: Path) -> None:
    """The child may write no file beyond 20 kB; what it began is gone afterwards."""
    fill(tmp_path / "in")
    (tmp_path / "a.mpta").write_text("old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from siwatsystem.packing import pack\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try: pack(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except OSError as error: sys.exit(error.errno)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "in"), str(tmp_path / "a.mpta")]
    assert subprocess.run(command, timeout=60).returncode == errno.EFBIG
    assert (tmp_path / "a.mpta").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mpta", "in"]
