"""A DeepStream application's ini: the keys that mean the same here, and which do not. Pure."""

import configparser
import re
from collections.abc import Callable
from typing import Any

OURS = "siwat"
"""The section for what DeepStream has no key for: the keys of our own config, first of all `archive`."""
MAX_NAMED = 50
"""Keys of a section, and sections, that are named where they have no meaning."""
_LISTS = frozenset({"classes", "input_folders", "output_folders"})
_SOURCE = re.compile(r"source\d+")
_GROUPS = frozenset({"enable"})
_GIE, _CONFIG, _PROPERTY = "primary-gie", "config-file", "property"


class _Ini(configparser.ConfigParser):
    def __init__(self) -> None:
        # As GLib's key files: `;` separates values, keys keep their letters, the last of two counts.
        super().__init__(
            delimiters=("=",), comment_prefixes=("#",), strict=False, interpolation=None, default_section=""
        )

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def read_ini(
    text: str, other: Callable[[str], str | None] = lambda _: None
) -> tuple[dict[str, Any], list[str]]:
    """Values by the keys of our own config, and warnings that name what was passed over.

    `other` gives the text of a file that the ini names (`config-file` of the detector), None where it cannot
    be read. Raises ValueError for what is no ini, and for a number that is none.
    """
    ini = _parsed(text)
    values: dict[str, Any] = {}
    used: set[tuple[str, str]] = set()
    _read_streams(ini, values, used)
    inference = _inference(ini, other, used)
    _read_sampling(ini, inference, values, used)
    if ini.has_section(OURS):
        for key, value in ini.items(OURS):
            values[key] = _listed(value) if key in _LISTS else value
            used.add((OURS, key))
        if "fps" in ini[OURS] and "every" not in ini[OURS]:
            values.pop("every", None)
    left = [_left(ini, used, "")]
    if inference is not None:
        left.append(_left(inference, {(_PROPERTY, "interval")}, f"{ini[_GIE][_CONFIG].strip()}: "))
    told = "no meaning here, the archive and the pushed files say it: "
    return values, [told + one for one in left if one]


def _parsed(text: str) -> _Ini:
    ini = _Ini()
    try:
        ini.read_string(text)
    except configparser.Error as error:
        raise ValueError(_short(" ".join(str(error).split()), 300)) from None
    return ini


def _inference(ini: _Ini, other: Callable[[str], str | None], used: set[tuple[str, str]]) -> _Ini | None:
    """The detector's own file; None where there is none that can be read."""
    name = ini.get(_GIE, _CONFIG, fallback="").strip()
    text = other(name) if name else None
    if text is None:
        return None
    try:
        found = _parsed(text)
    except ValueError:
        return None  # it may be YAML; that it was passed over is told
    used.add((_GIE, _CONFIG))
    return found


def _left(ini: _Ini, used: set[tuple[str, str]], head: str) -> str:
    """What was not used, in words, by section."""
    parts: list[str] = []
    for section in ini.sections():
        keys = [key for key in ini[section] if (section, key) not in used and key not in _GROUPS]
        if keys:
            more = f" and {len(keys) - MAX_NAMED} more" if len(keys) > MAX_NAMED else ""
            parts.append(f"[{_short(section)}] {', '.join(map(_short, keys[:MAX_NAMED]))}{more}")
    more = f"; and {len(parts) - MAX_NAMED} more sections" if len(parts) > MAX_NAMED else ""
    return _short(head, 300) + "; ".join(parts[:MAX_NAMED]) + more if parts else ""


def _short(text: str, most: int = 80) -> str:
    """As much of it as somebody reads, on one line."""
    text = text if len(text) <= most else f"{text[:most]}…"
    return text if text.isprintable() else ascii(text)


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


def _read_sampling(
    ini: _Ini, inference: _Ini | None, values: dict[str, Any], used: set[tuple[str, str]]
) -> None:
    """`interval`: so many are left out between two, by the application or else by the detector's file;
    `drop-frame-interval`: every N-th is decoded at all."""
    skipped = _whole(ini, _GIE, "interval", used)
    if skipped is None and inference is not None:
        skipped = _whole(inference, _PROPERTY, "interval", set())
    drops = {
        _whole(ini, section, "drop-frame-interval", used) or 1
        for section in ini.sections()
        if _SOURCE.fullmatch(section) and ini[section].get("enable", "1").strip() != "0"
    }
    if len(drops) > 1:
        raise ValueError("drop-frame-interval: all sources need the same one")
    every = ((skipped or 0) + 1) * max(drops, default=1)
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
        raise ValueError(f"[{section}] {key}: should be a whole number from 0, not {_short(text)!r}")
    return number


def _listed(value: str) -> list[str]:
    return [part for one in value.split(";") if (part := one.strip())]
