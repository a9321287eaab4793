"""What pages are made of: as it was taken from others, served to everybody, and good to read."""

import gzip
import hashlib
import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from siwatsystem.app import create_app
from siwatsystem.config import Settings
from siwatsystem.web.static import SHARED, assets_of, assets_router

ROW = re.compile(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", re.MULTILINE)
TOKENS = re.compile(r"--([a-z-]+):\s*(#[0-9a-f]{6})\b")
TEXT_ON = {
    "text": ("back", "card", "sunk", "accent-back", "good-back", "warn-back", "bad-back"),
    "soft": ("back", "card", "sunk"),
    "accent": ("back", "card", "accent-back"),
    "on-accent": ("accent",),
    "good": ("card", "good-back"),
    "warn": ("card", "warn-back"),
    "bad": ("card", "back", "bad-back"),
}
"""4.5 to 1: WCAG AA for text."""
SHAPES_ON = {
    "edge": ("card", "back"),
    "accent": ("sunk",),
    "good": ("sunk",),
    "warn": ("sunk",),
    "bad": ("sunk",),
}
"""3 to 1: borders of controls, and levels on their track."""


@pytest.fixture
def client() -> TestClient:
    return TestClient(create_app(Settings.model_validate({"control_token": "command-0123456789"})))


def test_what_others_wrote_is_as_it_was_taken():
    rows = dict(ROW.findall((SHARED / "VENDORED.md").read_text(encoding="utf-8")))
    assert {"preact.js", "uplot.js", "uplot.css"} <= rows.keys()
    for name, digest in rows.items():
        assert hashlib.sha256((SHARED / name).read_bytes()).hexdigest() == digest, name
    for name in rows:
        package = {"preact.js": "htm"}.get(name, name.partition(".")[0])
        assert f"{package}.LICENSE.txt" in rows, f"{name} has no licence beside it"


def test_no_script_makes_code_of_text_or_names_another_host():
    for path in SHARED.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\beval\(|new Function\(|\bimport\s*\(?[\"']https?:", text), path.name


def test_assets_need_no_token_and_are_asked_for_again_cheaply(client: TestClient):
    first = client.get("/assets/base.css", headers={"Accept-Encoding": "identity"})
    assert (first.status_code, first.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert first.headers["cache-control"] == "no-cache"
    assert first.content == (SHARED / "base.css").read_bytes()
    again = client.get("/assets/base.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get("/assets/base.css", headers={"If-None-Match": 'W/"000000000000000000000000"'})
    assert other.status_code == 200
    assert client.get("/assets/preact.js").headers["content-type"] == "text/javascript; charset=utf-8"


def test_they_come_packed_to_who_takes_that(client: TestClient):
    with client.stream("GET", "/assets/uplot.js", headers={"Accept-Encoding": "br, gzip;q=0.5"}) as answer:
        packed = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == (SHARED / "uplot.js").read_bytes()
    assert len(packed) < 50_000
    for header in ("identity", "gzip;q=0", ""):
        plain = client.get("/assets/uplot.js", headers={"Accept-Encoding": header})
        assert "content-encoding" not in plain.headers, header


def test_nothing_but_what_lies_there_is_served(client: TestClient):
    for name in ("VENDORED.md", "nothing.js", "..%2fstatic.py", "%2e%2e/static.py", ""):
        assert client.get(f"/assets/{name}").status_code in (401, 404), name
    assert client.post("/assets/base.css").status_code == 401


def test_a_page_brings_files_of_its_own_but_none_under_a_shared_name(tmp_path: Path):
    (tmp_path / "mine.js").write_text("export const one = 1;\n")
    (tmp_path / "notes.md").write_text("for people\n")
    app = FastAPI()
    app.include_router(assets_router("/x/assets", tmp_path))
    client = TestClient(app)
    assert client.get("/x/assets/mine.js").text == "export const one = 1;\n"
    assert client.get("/x/assets/base.css").status_code == 200
    assert client.get("/x/assets/notes.md").status_code == 404
    (tmp_path / "base.css").write_text("")
    with pytest.raises(ValueError, match=r"base\.css has the name of another"):
        assets_of(SHARED, tmp_path)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_controls_stand_out_from_what_they_lie_on(scheme: str):
    light, dark = (
        (SHARED / "base.css").read_text(encoding="utf-8").split("@media (prefers-color-scheme: dark)")
    )
    colours = dict(TOKENS.findall(light))
    if scheme == "dark":
        colours.update(TOKENS.findall(dark))
    for pairs, least in ((TEXT_ON, 4.5), (SHAPES_ON, 3.0)):
        for front, backs in pairs.items():
            for back in backs:
                ratio = contrast(colours[front], colours[back])
                assert ratio >= least, f"{scheme}: {front} on {back} is {ratio:.2f}"


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio."""
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
