"""The dashboard's files: together small, each named where it is used, and without what text could become."""

import re
from pathlib import Path

from siwatsystem.routes.dashboard import FOLDER, PAGE
from siwatsystem.web.static import SHARED, assets_of

MOST_BYTES = 300_000
"""Compressed, of all that the page and its parts may fetch."""
IMPORT = re.compile(r'(?:from |import\()"\./([\w.-]+)"')


def test_all_together_are_small():
    assets = assets_of(SHARED, FOLDER)
    assert sum(len(asset.packed) for asset in assets.values()) + PAGE.stat().st_size <= MOST_BYTES


def test_modules_import_what_is_there_and_none_is_forgotten():
    own = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    known = own.keys() | {path.name for path in SHARED.iterdir()}
    used = {name for text in own.values() for name in IMPORT.findall(text)}
    used |= set(re.findall(r'"assets/([\w.-]+)"', own[PAGE.name]))
    assert used <= known
    assert own.keys() - used == {PAGE.name}


def test_modules_are_small():
    for path in FOLDER.glob("*.js"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 150, path.name
        assert lines[0].startswith("// "), f"{path.name} does not say what it is for"
        assert max(map(len, lines)) <= 125, path.name


def test_nothing_outside_is_named():
    for path in (*FOLDER.glob("*.js"), *FOLDER.glob("*.css"), PAGE):
        # Examples of addresses, and the name of a language, are fetched from nowhere.
        text = re.sub(
            r'placeholder=.*|const EXAMPLES.*|xmlns="[^"]*"', "", Path(path).read_text(encoding="utf-8")
        )
        assert not re.search(r"https?://", text), path.name
