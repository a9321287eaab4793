"""Inputs made wrong on purpose, out of right ones. Every choice is asked of the `Random` that is given, so
hypothesis can shrink them and a seed repeats them."""

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

NUMBERS: tuple[Any, ...] = (
    0,
    -1,
    1,
    0.5,
    -0.0,
    2**31,
    2**53 + 1,
    2**63,
    2**64,
    10**400,
    1e308,
    -1e308,
    1e-320,
    float("inf"),
    float("-inf"),
    float("nan"),
)
TEXTS = (
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "\udfff\ud800",
    "é",
    "🚗",
    "\u202e",
    "\n\r\t",
    "../../etc/passwd",
    "/etc/passwd",
    "C:\\x",
    "{class}",
    "{a.b.c}",
    "{" * 50,
    "{{}}",
    "%00",
    "%s%n",
    "'; DROP TABLE x;--",
    "http://[",
    "rtsp://user:p@ss@host:99999/x",
    "file:///a%00b",
    "//note",
    "$schema",
    "__class__",
    "x" * 300,
    "x" * 5000,
)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [{}], {"": None})
DEEP = (8, 31, 33, 63, 65, 300)


def junk(random: Random) -> Any:
    """A JSON value, or nearly one, that is seldom expected anywhere."""
    kind = random.randrange(8)
    if kind < 2:
        return random.choice(NUMBERS)
    if kind < 4:
        return random.choice(TEXTS)
    if kind < 6:
        return copy.deepcopy(random.choice(OTHERS))
    if kind == 6:
        return [junk(random) for _ in range(random.randrange(4))]
    value: Any = random.choice(TEXTS)
    for _ in range(random.choice(DEEP)):
        value = [value] if random.randrange(2) else {"branches": value}
    return value


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in `value` with each of its keys."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        found += [(one, key) for key in keys]
        waiting += [one[key] for key in keys]
    return found


def changed(random: Random, value: Any, most: int = 4) -> Any:
    """A copy of the JSON value with up to `most` changes, perhaps none."""
    made = copy.deepcopy(value)
    for _ in range(random.randrange(most + 1)):
        there = places(made)
        if not there:
            return junk(random)
        random.choice(CHANGES)(random, there, *random.choice(there))
    return made


def _replace(random: Random, there: list[tuple[Any, Any]], holder: Any, key: Any) -> None:
    holder[key] = junk(random)


def _remove(random: Random, there: list[tuple[Any, Any]], holder: Any, key: Any) -> None:
    del holder[key]


def _rename(random: Random, there: list[tuple[Any, Any]], holder: Any, key: Any) -> None:
    if isinstance(holder, dict):
        holder[random.choice(TEXTS)] = holder.pop(key)


def _add(random: Random, there: list[tuple[Any, Any]], holder: Any, key: Any) -> None:
    if isinstance(holder, dict):
        holder[random.choice(TEXTS)] = junk(random)
    else:
        holder.append(junk(random))


def _swap(random: Random, there: list[tuple[Any, Any]], holder: Any, key: Any) -> None:
    other, name = random.choice(there)
    holder[key] = copy.deepcopy(other[name])


def _double(random: Random, there: list[tuple[Any, Any]], holder: Any, key: Any) -> None:
    if isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))


def _retype(random: Random, there: list[tuple[Any, Any]], holder: Any, key: Any) -> None:
    value = holder[key]
    kinds: Sequence[Callable[[], Any]] = (
        lambda: str(value),
        lambda: [value],
        lambda: {"value": value},
        lambda: len(str(value)),
        lambda: float(len(str(value))),
    )
    holder[key] = random.choice(kinds)()


def _nudge(random: Random, there: list[tuple[Any, Any]], holder: Any, key: Any) -> None:
    """A change that may well be allowed."""
    value = holder[key]
    if isinstance(value, bool):
        holder[key] = not value
    elif isinstance(value, int | float):
        holder[key] = value + random.choice((-1, 1) if isinstance(value, int) else (-1, 1, 0.25))
    elif isinstance(value, str):
        holder[key] = random.choice((value + "x", value[:-1], value.upper(), f"{value};{value}"))


CHANGES = (_replace, _remove, _rename, _add, _swap, _double, _retype, _nudge, _nudge, _nudge)


def dumped(random: Random, value: Any) -> str:
    """`value` as JSON text (with NaN and lone surrogates where it has some), or what was one."""
    text = json.dumps(value, ensure_ascii=random.randrange(2) == 0)
    return text if random.randrange(6) else torn(random, text)


def torn(random: Random, text: str) -> str:
    """`text` cut, doubled in parts, or with other characters in it."""
    at = random.randrange(len(text) + 1)
    to = min(len(text), at + random.randrange(20))
    middle = random.choice(("", text[at:to] * 2, random.choice(TEXTS), "[" * 40, '"', "\\", ",", "9" * 5000))
    return text[:at] + middle + text[to:]


def damaged(random: Random, data: bytes, most: int = 6) -> bytes:
    """`data` with bits flipped, bytes set, parts cut out, doubled or moved."""
    made = bytearray(data)
    for _ in range(random.randrange(1, most + 1)):
        if not made:
            break
        at, to = random.randrange(len(made)), random.randrange(len(made))
        how = random.randrange(12)
        if how < 4:
            made[at] ^= 1 << random.randrange(8)
        elif how < 8:
            made[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
        elif how == 8:
            del made[at:]
        elif how == 9:
            del made[at : at + random.randrange(16)]
        elif how == 10:
            made[at:at] = made[to : to + random.randrange(64)]
        else:
            made[at : at + 4] = random.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff"))
    return bytes(made)


def noise(random: Random, most: int = 60) -> bytes:
    """Any bytes."""
    return bytes(random.randrange(256) for _ in range(random.randrange(most)))
