import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from siwatsystem import archive
from siwatsystem.archive import SIGNATURE
from siwatsystem.config import ModelSettings
from siwatsystem.errors import ModelRefused
from siwatsystem.packing import pack
from siwatsystem.signatures import DOMAIN, MAX_BYTES, Signature, Trust, sign, state
from siwatsystem.signing_keys import PrivateKey

NODE = {"modelId": "a", "modelFile": "nets/a.pt", "minConfidence": 0.5, "triggerClasses": ["Car"]}
KEY = PrivateKey.new()
OTHER = PrivateKey.new()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A signed archive, unpacked as a worker does."""
    return signed(tmp_path)


def signed(tmp_path: Path, key: PrivateKey = KEY) -> Path:
    source = tmp_path / "source"
    for name in ("nets/a.pt", "tests/a.jpg", "LIESMICH ä.md"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    (source / "pipeline.json").write_text(json.dumps({"pipeline": NODE}))
    sign(source, archive.files_of(source), key)
    pack(source, tmp_path / "a.mpta")
    return archive.extract(tmp_path / "a.mpta", tmp_path / "unpacked", ModelSettings())


def test_what_was_signed_is_known_with_every_file_of_it(folder: Path) -> None:
    found = state(folder)
    assert (found.kind, found.key, found.reason) == ("signed", KEY.public, "")
    assert str(found) == f"signed by {KEY.public.fingerprint}"
    kept = json.loads((folder / SIGNATURE).read_text())
    assert kept["algorithm"] == "Ed25519"
    assert sorted(kept["files"]) == ["LIESMICH ä.md", "nets/a.pt", "pipeline.json", "tests/a.jpg"]
    assert Signature.model_validate(kept).signed.startswith(DOMAIN)


def test_signing_again_gives_the_same_bytes(folder: Path) -> None:
    before = (folder / SIGNATURE).read_bytes()
    sign(folder, reversed(archive.files_of(folder)), KEY)
    assert (folder / SIGNATURE).read_bytes() == before


def test_without_a_signature_it_is_unsigned(folder: Path) -> None:
    (folder / SIGNATURE).unlink()
    assert str(state(folder)) == "unsigned"


def edit(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def values(**changes: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        kept = json.loads((folder / SIGNATURE).read_text())
        (folder / SIGNATURE).write_text(json.dumps(kept | changes))

    return change


def files(**changes: str | None) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        kept = json.loads((folder / SIGNATURE).read_text())
        merged = kept["files"] | changes
        kept["files"] = {name: digest for name, digest in merged.items() if digest is not None}
        (folder / SIGNATURE).write_text(json.dumps(kept))

    return change


def linked(folder: Path) -> None:
    (folder / "tests/a.jpg").rename(folder.parent / "a.jpg")
    (folder / "tests/a.jpg").symlink_to(folder.parent / "a.jpg")


def folder_of_that_name(folder: Path) -> None:
    (folder / SIGNATURE).unlink()
    (folder / SIGNATURE).mkdir()


def twice(folder: Path) -> None:
    text = (folder / SIGNATURE).read_text()
    (folder / SIGNATURE).write_text(text.replace('"files": {', '"files": {"pipeline.json": "0",', 1))


def swapped(folder: Path) -> None:
    kept = json.loads((folder / SIGNATURE).read_text())
    names = list(kept["files"])
    kept["files"][names[0]], kept["files"][names[1]] = kept["files"][names[1]], kept["files"][names[0]]
    (folder / SIGNATURE).write_text(json.dumps(kept))


def signed_without_domain(folder: Path) -> None:
    import base64

    kept = Signature.model_validate(json.loads((folder / SIGNATURE).read_text()))
    bare = kept.signed.removeprefix(DOMAIN)
    values(signature=base64.b64encode(KEY.sign(bare)).decode())(folder)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (edit("nets/a.pt", "evil!!!!!"), "'nets/a.pt' was changed after signing"),
    "pipeline": (edit("pipeline.json", "{}"), "'pipeline.json' was changed after signing"),
    "unused file": (edit("LIESMICH ä.md", ""), "was changed after signing"),
    "added": (edit("nets/b.pt", "x"), "'nets/b.pt' was added after signing"),
    "hidden": (edit(".x", "x"), "'.x' was added after signing"),
    "missing": (lambda folder: (folder / "tests/a.jpg").unlink(), "'tests/a.jpg' is missing"),
    "link": (linked, "no plain file"),
    "digest": (files(**{"nets/a.pt": "0" * 64}), "was changed, or signed with another key"),
    "file left out": (files(**{"nets/a.pt": None}), "was changed, or signed with another key"),
    "swapped": (swapped, "was changed, or signed with another key"),
    "other key": (values(publicKey=OTHER.public.base64), "was changed, or signed with another key"),
    "domain": (signed_without_domain, "was changed, or signed with another key"),
    "no signature": (values(signature=""), "was changed, or signed with another key"),
    "no base64": (values(signature="?"), "not base64"),
    "no key": (values(publicKey="AAAA"), "publicKey"),
    "algorithm": (values(algorithm="none"), "algorithm"),
    "more keys": (values(extra=1), "extra"),
    "kinds": (values(files=[]), "files"),
    "no JSON": (edit(SIGNATURE, "{"), "not JSON"),
    "bytes": (lambda folder: (folder / SIGNATURE).write_bytes(b"\xff"), "not JSON"),
    "deep": (edit(SIGNATURE, "[" * 100_000), "not JSON"),
    "large": (edit(SIGNATURE, " " * (MAX_BYTES + 1)), "larger"),
    "twice": (twice, "twice"),
    "a folder": (folder_of_that_name, "no file"),
    "dangling": (
        lambda folder: (folder / SIGNATURE).unlink() or (folder / SIGNATURE).symlink_to("nix"),
        "no file",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_whatever_is_changed_breaks_it_and_is_refused_whatever_the_settings(folder: Path, how: str) -> None:
    change, why = BROKEN[how]
    change(folder)
    found = state(folder)
    assert found.kind == "broken"
    assert why in found.reason
    for trust in (Trust(), Trust(frozenset([KEY.public])), Trust(required=True)):
        with pytest.raises(ModelRefused, match="signature does not hold"):
            trust.check(folder)


def test_an_unknown_key_is_refused_where_keys_are_known_or_required(folder: Path) -> None:
    assert Trust().check(folder).kind == "signed"
    assert Trust(frozenset([OTHER.public, KEY.public]), required=True).check(folder).key == KEY.public
    for trust in (Trust(frozenset([OTHER.public])), Trust(required=True)):
        with pytest.raises(ModelRefused, match="key that is not trusted") as told:
            trust.check(folder)
        assert KEY.public.fingerprint in told.value.message


def test_an_unsigned_one_is_refused_only_where_a_signature_is_required(folder: Path) -> None:
    (folder / SIGNATURE).unlink()
    assert Trust(frozenset([KEY.public])).check(folder).kind == "unsigned"
    with pytest.raises(ModelRefused, match="not signed"):
        Trust(frozenset([KEY.public]), required=True).check(folder)


def test_a_bare_model_cannot_be_signed(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_text("x")
    assert Trust().check(tmp_path).kind == "unsigned"
    with pytest.raises(ModelRefused, match="bare model file cannot be signed"):
        Trust(required=True).check(tmp_path)


def test_an_archive_in_a_top_folder_is_signed_there_too(tmp_path: Path) -> None:
    signed(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.mpta") as source, zipfile.ZipFile(tmp_path / "b.mpta", "w") as target:
        for name in source.namelist():
            target.writestr(f"top/{name}", source.read(name))
    unpacked = archive.extract(tmp_path / "b.mpta", tmp_path / "b", ModelSettings())
    assert state(unpacked).kind == "signed"


def test_unsigned_archives_still_leave_behind_what_no_worker_needs(tmp_path: Path) -> None:
    signed(tmp_path)
    (tmp_path / "source" / SIGNATURE).unlink()
    pack(tmp_path / "source", tmp_path / "b.mpta")
    few = archive.extract(tmp_path / "b.mpta", tmp_path / "few", ModelSettings())
    assert archive.files_of(few) == ["nets/a.pt", "pipeline.json", "tests/a.jpg"]
    whole = archive.extract(tmp_path / "b.mpta", tmp_path / "whole", ModelSettings(), whole=True)
    assert len(archive.files_of(whole)) == 4
