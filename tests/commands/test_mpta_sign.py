"""`siwat mpta keygen`, `sign`, `verify`, as processes."""

import stat
import zipfile
from pathlib import Path

from tests.commands.archives import DEMO, mpta


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def change(source: Path, target: Path) -> Path:
    """The same archive with one byte of its pipeline.json more."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + (b"\n" if name == "pipeline.json" else b""))
    return target


def test_from_a_key_to_an_archive_that_is_vouched_for(tmp_path: Path) -> None:
    made = mpta("keygen", "--out", tmp_path / "mine")
    assert made.returncode == 0
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o600
    line = made.stdout.splitlines()[-1].split('"')[1]
    assert mpta("keygen", "--out", tmp_path / "other").returncode == 0

    signed = tmp_path / "signed.mpta"
    done = mpta("sign", DEMO, "--key", tmp_path / "mine", "-o", signed)
    assert done.returncode == 0, done.stderr
    assert sorted(names(signed)) == sorted([*names(DEMO), "signature.json"])
    again = tmp_path / "again.mpta"
    again.write_bytes(signed.read_bytes())
    assert mpta("sign", again, "--key", tmp_path / "mine").returncode == 0
    assert again.read_bytes() == signed.read_bytes()

    assert mpta("verify", signed).returncode == 0
    assert mpta("verify", signed, "--key", tmp_path / "mine.pub").returncode == 0
    assert mpta("verify", signed, "--key", tmp_path / "other.pub", "--key", line).returncode == 0
    foreign = mpta("verify", signed, "--key", tmp_path / "other.pub")
    assert (foreign.returncode, foreign.stdout) == (1, "")
    assert "none of the given keys" in foreign.stderr
    broken = mpta("verify", change(signed, tmp_path / "changed.mpta"))
    assert broken.returncode == 1
    assert broken.stderr.endswith("broken signature: 'pipeline.json' was changed after signing\n")


def test_no_key_is_replaced(tmp_path: Path) -> None:
    assert mpta("keygen", "--out", tmp_path / "k").returncode == 0
    before = (tmp_path / "k").read_bytes()
    assert mpta("keygen", "--out", tmp_path / "k").returncode == 2
    assert (tmp_path / "k").read_bytes() == before


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    unsigned = mpta("verify", DEMO)
    assert (unsigned.returncode, unsigned.stderr) == (1, f"siwat: {DEMO}: unsigned\n")
    (tmp_path / "a.pt").write_text("x")
    (tmp_path / "junk").write_text("x")
    bare = mpta("sign", tmp_path / "a.pt", "--key", tmp_path / "junk")
    assert bare.returncode == 2
    assert "bare model file cannot be signed" in bare.stderr
    key = mpta("sign", DEMO, "--key", tmp_path / "junk", "-o", tmp_path / "out.mpta")
    assert key.returncode == 2
    assert "no private key can be read" in key.stderr
    assert not (tmp_path / "out.mpta").exists()
    assert mpta("verify", DEMO, "--key", "nix").returncode == 2
    damaged = mpta("verify", tmp_path / "junk")
    assert (damaged.returncode, damaged.stderr.count("\n")) == (1, 1)
