"""A DeepStream application's ini: the keys that mean the same here, and which do not. Pure."""

import configparser
import re
from typing import Any

OURS = "siwat"
"""The section for what DeepStream has no key for: the keys of our own config, first of all `archive`."""
_LISTS = frozenset({"classes", "input_folders", "output_folders"})
_SOURCE = re.compile(r"source\d+")
_GROUPS = frozenset({"enable"})


class _Ini(configparser.ConfigParser):
    def __init__(self) -> None:
        # As GLib's key files: `;` separates values, keys keep their letters, the last of two counts.
        super().__init__(
            delimiters=("=",), comment_prefixes=("#",), strict=False, interpolation=None, default_section=""
        )

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def read_ini(text: str) -> tuple[dict[str, Any], list[str]]:
    """Values by the keys of our own config, and at most one warning that names what was passed over.

    Raises ValueError for what is no ini, and for a number that is none.
    """
    ini = _Ini()
    try:
        ini.read_string(text)
    except configparser.Error as error:
        raise ValueError(" ".join(str(error).split())) from None
    values: dict[str, Any] = {}
    used: set[tuple[str, str]] = set()
    _read_streams(ini, values, used)
    _read_sampling(ini, values, used)
    if ini.has_section(OURS):
        for key, value in ini.items(OURS):
            values[key] = _listed(value) if key in _LISTS else value
            used.add((OURS, key))
        if "fps" in ini[OURS] and "every" not in ini[OURS]:
            values.pop("every", None)
    left = [
        f"[{section}] {key}"
        for section in ini.sections()
        for key in ini[section]
        if (section, key) not in used and key not in _GROUPS
    ]
    if not left:
        return values, []
    return values, [f"no meaning here, the archive and the pushed files say it: {', '.join(left)}"]


def _read_streams(ini: _Ini, values: dict[str, Any], used: set[tuple[str, str]]) -> None:
    """How many sources side by side: the list of sources, the enabled sources, the muxer's batch."""
    counts = [
        _whole(ini, "source-list", "num-source-bins", used),
        sum(
            _whole(ini, section, "num-sources", used) or 1
            for section in ini.sections()
            if _SOURCE.fullmatch(section) and ini[section].get("enable", "1").strip() != "0"
        ),
        _whole(ini, "streammux", "batch-size", used),
    ]
    found = next((count for count in counts if count), None)
    if found is not None:
        values["streams"] = found


def _read_sampling(ini: _Ini, values: dict[str, Any], used: set[tuple[str, str]]) -> None:
    """`interval`: so many are left out between two; `drop-frame-interval`: every N-th is decoded at all."""
    skipped = _whole(ini, "primary-gie", "interval", used) or 0
    drops = {
        _whole(ini, section, "drop-frame-interval", used) or 1
        for section in ini.sections()
        if _SOURCE.fullmatch(section) and ini[section].get("enable", "1").strip() != "0"
    }
    if len(drops) > 1:
        raise ValueError("drop-frame-interval: all sources need the same one")
    every = (skipped + 1) * max(drops, default=1)
    if every > 1:
        values["every"] = every


def _whole(ini: _Ini, section: str, key: str, used: set[tuple[str, str]]) -> int | None:
    text = ini.get(section, key, fallback=None)
    if text is None:
        return None
    used.add((section, key))
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(f"[{section}] {key}: should be a whole number from 0, not {text!r}")
    return number


def _listed(value: str) -> list[str]:
    return [part for one in value.split(";") if (part := one.strip())]
