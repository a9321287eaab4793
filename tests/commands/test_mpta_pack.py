"""`siwat mpta pack`; a process of its own where the disk is to be full."""

import hashlib
from pathlib import Path

import pytest

from tests.commands.archives import DEMO, mpta, rewrite, run, unpacked

FULL = [
    "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)",
    "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))",
]


def test_a_folder_becomes_an_archive_beside_it_and_the_same_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = unpacked(tmp_path / "cars")
    (folder / ".git").mkdir()
    done = run("pack", folder)
    packed = tmp_path / "cars.mpta"
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    assert done.exit_code == 0
    assert done.stdout == f"{packed}  {packed.stat().st_size} bytes  sha256 {digest}\n"
    assert done.stderr == "left out .git/\n"
    assert run("validate", packed).exit_code == 0

    refused = run("pack", folder)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--force replaces it" in refused.stderr
    (folder / "pipeline.json").touch()
    monkeypatch.chdir(folder)
    assert digest in run("pack", ".", "--force").stdout


def test_what_a_worker_would_refuse_is_not_packed(tmp_path: Path) -> None:
    folder = rewrite(unpacked(tmp_path / "cars"), triggerClasses=["Bus"])
    done = run("pack", folder, "-o", tmp_path / "a.mpta")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "pipeline.triggerClasses[0]: no model here has a class 'Bus'" in done.stderr
    assert not (tmp_path / "a.mpta").exists()


def test_the_signature_of_an_earlier_archive_is_not_packed(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "cars")
    (folder / "signature.json").write_text("{}")
    done = run("pack", folder)
    assert done.exit_code == 2
    assert "delete it, and sign the new one" in done.stderr
    assert not (tmp_path / "cars.mpta").exists()


def test_a_full_disk_keeps_the_old_archive(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "cars")
    (tmp_path / "cars.mpta").write_text("old")
    done = mpta("pack", folder, "--force", before=FULL)
    assert done.returncode == 1
    assert done.stderr.startswith("siwat: ")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "cars.mpta").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cars", "cars.mpta"]


def test_a_file_or_nothing_is_wrong_usage(tmp_path: Path) -> None:
    assert run("pack", DEMO).exit_code == 2
    assert run("pack", tmp_path / "nix").exit_code == 2
    assert run("pack").exit_code == 2
