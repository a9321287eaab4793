"""Small texts from outside: templates, camera addresses, model addresses, keys, the settings file."""

# ruff: noqa: PT017 - what is refused may be any of many, and is looked at more closely

import base64
import json
import tempfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from siwatsystem.actions.templates import Unresolved, placeholders, render, unknown
from siwatsystem.archive_shelf import bare_name, shelf_name
from siwatsystem.config import StreamSettings, load_settings
from siwatsystem.download import bare_url
from siwatsystem.errors import InvalidSetting, StreamRefused
from siwatsystem.signing_keys import PrivateKey, PublicKey, read_public, read_trusted
from siwatsystem.streams.address import parse_address
from tests.fuzz import mutation
from tests.fuzz.target import Input, Target, sendable

# --- templates -------------------------------------------------------------------------------------

PIECES = (
    "{class}",
    "{m-1.brand}",
    "{none}",
    "{nested}",
    "{missing}",
    "{class.upper}",
    "{class!r}",
    "{0}",
    "{class:>99999999}",
    "{__class__.__mro__}",
    '{"a": "{class}"}',
    '{"{none}": 1}',
    '{"{class}" : {nested}}',
    '{"a": [{number}, "{none}", "x{none}"]}',
    '"',
    "\\",
    "{",
    "}",
    "[",
    ", ",
    "é\ud800",
)
NAMES = ("class", "none", "nested", "number", "m-1", "m-1.brand")


def make_template(random: Random) -> Input:
    """`{"text": …, "context": …}`."""
    if random.randrange(3):
        text = json.dumps(_with_placeholders(random, 0), ensure_ascii=random.randrange(2) == 0)
    else:
        text = "".join(random.choice(PIECES) for _ in range(random.randrange(8)))
    context: dict[str, Any] = {name: mutation.junk(random) for name in NAMES if random.randrange(8)}
    if random.randrange(2):
        context["m-1"] = {"brand": mutation.junk(random)}
    return json.dumps({"text": text, "context": context})


def _with_placeholders(random: Random, depth: int) -> Any:
    kind = random.randrange(6 if depth < 3 else 4)
    if kind < 3:
        words = (
            "{class}",
            "{none}",
            "{m-1.brand}",
            "{nested}",
            "{number}",
            "a",
            '"',
            "\\",
            "\ud83d",
            "{",
            " ",
        )
        return "".join(random.choice(words) for _ in range(random.randrange(5)))
    if kind == 3:
        return random.choice((1, 2.5, None, True))
    inner = [_with_placeholders(random, depth + 1) for _ in range(random.randrange(4))]
    return inner if kind == 4 else {str(_with_placeholders(random, 3)): value for value in inner}


def check_template(value: Input) -> bool:
    """Rendering gives a text or names what is missing; JSON stays JSON, and no value is looked into."""
    given = json.loads(value)
    text: str = given["text"]
    context: dict[str, Any] = given["context"]
    known = {
        *context,
        *(f"{owner}.{key}" for owner, inner in context.items() if isinstance(inner, dict) for key in inner),
    }
    missing = unknown(text, known)
    assert set(missing) <= set(placeholders(text))
    for as_json in (False, True):
        try:
            rendered = render(text, context, json=as_json)
        except Unresolved as error:
            # An escaped brace (`\\{`) is none of a JSON text's placeholders.
            assert error.name in missing
            return False
        assert not missing or as_json
        assert isinstance(rendered, str)
        if as_json and _is_json(render(text, dict.fromkeys(known, 0), json=True)):
            assert _is_json(rendered), rendered
    return bool(placeholders(text))


def _is_json(text: str) -> bool:
    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


# --- addresses -------------------------------------------------------------------------------------

ADDRESSES = (
    "rtsp://camera/stream",
    "rtsps://user:pa:ss@[fe80::1%25eth0]:322/a?b#c",
    "http://user:p%40ss@10.0.0.5:8080/jpg?size=1",
    "https://[::ffff:10.0.0.1]/x",
    "webcam:0",
    "webcam://12",
    "0",
    "file:///clips/a.mp4",
    "file:///clips/../clips/b%20c.mp4",
    "http://192.168.1.9/x/@y",
)
BITS = (
    "@",
    ":",
    "/",
    "[",
    "]",
    "%",
    "%00",
    "\0",
    "::",
    "//",
    "?",
    "#",
    "٣",
    "65536",
    "\\",
    " ",
    "é",
    "\ud800",
    "..",
    "%2e",
    "1" * 400,
)


def make_address(random: Random) -> Input:
    text = random.choice(ADDRESSES)
    for _ in range(random.randrange(5)):
        at = random.randrange(len(text) + 1)
        text = text[:at] + random.choice(BITS) + text[at + random.randrange(4) :]
    return text


def check_address(url: Input) -> bool:
    """An address that can be written again and read as the same one, or StreamRefused."""
    assert isinstance(url, str)
    for settings in (StreamSettings(), StreamSettings(file_root=Path("/clips"), networks=("10.0.0.0/8",))):
        try:
            address = parse_address(url, settings)
        except StreamRefused as error:
            sendable(error.message)
            continue
        if address.scheme not in ("file", "webcam"):
            again = parse_address(address.url(), settings)
            assert (again.host, again.port, again.user or "", again.password or "") == (
                address.host,
                address.port,
                address.user or "",
                address.password or "",
            )
        return True
    return False


MODELS = (
    "http://models/cars.mpta?sig=1",
    "https://u:p@host:8443/a/b%20c.pt",
    "file:///a/b.onnx",
    "x.PT",
    "//h/..",
)


def make_model_address(random: Random) -> Input:
    text = random.choice(MODELS)
    for _ in range(random.randrange(5)):
        at = random.randrange(len(text) + 1)
        text = text[:at] + random.choice(BITS[:-4]) + text[at + random.randrange(4) :]
    return text


def check_model_address(url: Input) -> bool:
    """The names that are made of what a subscription says are one component of a path each."""
    assert isinstance(url, str)
    bare = bare_url(url)
    assert "?" not in bare, "a query may be a signature"
    for name in (shelf_name(url), bare_name(url), bare_name(bare)):
        if name is not None:
            assert "/" not in name
            assert "\0" not in name
            assert name not in ("", ".", "..")
            assert len(name.encode()) <= 255
    return bare_name(bare) is not None


# --- keys ------------------------------------------------------------------------------------------


@cache
def keys() -> tuple[str, str, str]:
    """The same key as base64 and PEM, and its private half."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = PublicKey(private.public_key().public_bytes_raw())
    return public.base64, public.pem, pem


def make_key(random: Random) -> Input:
    text = random.choice(keys())
    for _ in range(random.randrange(3)):
        if random.randrange(2):
            text = mutation.damaged(random, text.encode("utf-8", "replace"), 2).decode("latin-1")
        else:
            text = mutation.torn(random, text)
    return text


def check_key(text: Input) -> bool:
    """A public key, a private one, or ValueError (InvalidSetting); never both, never a secret in a text."""
    assert isinstance(text, str)
    secret = keys()[2].splitlines()[1]
    found: PublicKey | None = None
    for read in (PublicKey.read, read_public):
        try:
            found = read(text)
            assert len(found.raw) == 32
            found.verifies(b"x" * 64, b"message")
        except ValueError as error:
            assert secret not in str(error)
    try:
        read_trusted((text,))
    except InvalidSetting as error:
        assert secret not in error.message
        sendable(error.message)
    with tempfile.NamedTemporaryFile(dir=_memory()) as file:
        file.write(text.encode("utf-8", "surrogatepass"))
        file.flush()
        try:
            PrivateKey.load(Path(file.name)).sign(b"x")
        except ValueError as error:
            assert secret not in str(error)
            return found is not None
    return True


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


# --- settings --------------------------------------------------------------------------------------

SETTINGS: tuple[dict[str, Any], ...] = (
    {
        "poll_interval_ms": 100,
        "max_streams": 999,
        "target_fps": 2,
        "reconnect_interval_sec": 5,
        "max_retries": -1,
    },
    {
        "host": "127.0.0.1",
        "port": 8000,
        "control_token": "a-token-of-some-length",
        "hostnames": ["worker"],
        "streams": {"schemes": ["rtsp", "file"], "file_root": "/clips", "networks": ["10.0.0.0/8"]},
        "models": {
            "max_entries": 10,
            "hosts": ["models"],
            "trusted_keys": [base64.b64encode(bytes(32)).decode()],
        },
        "websocket": {"max_depth": 16, "burst": 5},
        "logs": {"file": None, "level": "INFO"},
    },
)
HOOKS = (
    "_env_file",
    "_cli_parse_args",
    "_secrets_dir",
    "_env_prefix",
    "_case_sensitive",
    "_env_nested_delimiter",
    "self",
    "__init__",
)


def make_settings(random: Random) -> Input:
    value = mutation.changed(random, random.choice(SETTINGS))
    if random.randrange(12) == 0 and isinstance(value, dict):
        value[random.choice(HOOKS)] = mutation.junk(random)
    data = mutation.dumped(random, value).encode("utf-8", "surrogatepass")
    return mutation.damaged(random, data) if random.randrange(12) == 0 else data


def check_settings(data: Input) -> bool:
    """Settings, or InvalidSetting in one line that tells no token."""
    assert isinstance(data, bytes)
    with tempfile.NamedTemporaryFile(dir=_memory()) as file:
        file.write(data)
        file.flush()
        try:
            load_settings(Path(file.name))
        except InvalidSetting as error:
            assert "\n" not in error.message
            return False
    return True


TARGETS = (
    Target("templates", make_template, check_template, share=0.15),
    Target("addresses", make_address, check_address, share=0.2),
    Target("model_addresses", make_model_address, check_model_address, share=0.05),
    Target("keys", make_key, check_key, share=0.2),
    Target("settings", make_settings, check_settings, share=0.1),
)
