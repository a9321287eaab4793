"""Who vouches for an archive: `signature.json` beside pipeline.json, and what is held against it.

It names the SHA-256 of every other file, signed with Ed25519 (RFC 8032): nothing can be changed, added
or taken away. The public key that it carries says who signed, not that he is to be trusted; that is
what `Trust` decides.
"""

import base64
import hashlib
import json
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from siwatsystem.archive import PIPELINE, SIGNATURE
from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.signing_keys import PrivateKey, PublicKey

DOMAIN = b"siwatsystem archive signature 1\0"
"""Goes before what is signed: a signature made for anything else is none of an archive."""
MAX_BYTES = 4 << 20
MAX_REASON = 500
"""Characters of why a signature is broken: names of files come from outside, and it goes over the wire."""


class Signature(BaseModel):
    """What `signature.json` holds."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True)

    algorithm: Literal["Ed25519"] = "Ed25519"
    public_key: str
    """32 bytes in base64."""
    files: dict[str, str]
    """SHA-256 in hexadecimal by path, of every file but this one."""
    signature: str = ""
    """64 bytes in base64."""

    @property
    def signed(self) -> bytes:
        """What the signature is made over: everything else as canonical JSON."""
        values = self.model_dump(by_alias=True, exclude={"signature"})
        return DOMAIN + json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class SignatureState:
    """Whether a folder is signed, by whom, and, where it is broken, why."""

    kind: Literal["unsigned", "signed", "broken"]
    key: PublicKey | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.kind == "signed" and self.key is not None:
            return f"signed by {self.key.fingerprint}"
        return f"broken signature: {self.reason}" if self.kind == "broken" else "unsigned"


class _Broken(Exception):
    """The signature does not hold; the message says why."""


def sign(folder: Path, names: Iterable[str], key: PrivateKey) -> Path:
    """Write the signature.json of `folder` over its files `names` (any other signature.json aside).

    The same files and key give the same bytes. Raises OSError.
    """
    files = {name: _digest(folder / name) for name in sorted(names) if name != SIGNATURE}
    unsigned = Signature(public_key=key.public.base64, files=files)
    signature = base64.b64encode(key.sign(unsigned.signed)).decode()
    values = unsigned.model_copy(update={"signature": signature}).model_dump(by_alias=True)
    target = folder / SIGNATURE
    target.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
    return target


def state(folder: Path) -> SignatureState:
    """Whether the archive unpacked in `folder` is signed, every file of it read. Raises OSError."""
    path = folder / SIGNATURE
    if not path.is_symlink() and not path.exists():
        return SignatureState("unsigned")
    try:
        signature = _read(path)
        key = _key_of(signature)
        if not key.verifies(_bytes_of(signature.signature), signature.signed):
            raise _Broken(f"{SIGNATURE} was changed, or signed with another key than it names")
        _compare(folder, signature.files)
    except _Broken as error:
        return SignatureState("broken", reason=str(error)[:MAX_REASON])
    return SignatureState("signed", key)


@dataclass(frozen=True, slots=True)
class Trust:
    """Which archives are opened: `keys` may sign; without keys and `required` any archive may come."""

    keys: frozenset[PublicKey] = frozenset()
    required: bool = False

    def check(self, folder: Path) -> SignatureState:
        """The state of the archive unpacked in `folder`, of which nothing was loaded yet.

        Raises ModelRefused: for what was changed in any case, for an unknown key where keys are known
        or a signature is required, for none where it is required.
        """
        try:
            found = state(folder)
        except OSError as error:
            raise ModelInvalid(f"the archive cannot be read ({error.strerror or error})") from None
        if found.kind == "broken":
            raise ModelRefused(f"the archive's signature does not hold: {found.reason}")
        if found.key is not None and found.key not in self.keys and (self.keys or self.required):
            raise ModelRefused(
                f"the archive is signed with a key that is not trusted ({found.key.fingerprint}); "
                "models.trusted_keys has none such"
            )
        if found.kind == "unsigned" and self.required:
            bare = not (folder / PIPELINE).exists()
            raise ModelRefused(
                "require_signature is set, and a bare model file cannot be signed: pack it as an archive"
                if bare
                else "the archive is not signed, and require_signature is set"
            )
        return found


def _read(path: Path) -> Signature:
    if path.is_symlink() or not path.is_file():
        raise _Broken(f"{SIGNATURE} is no file")
    with path.open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise _Broken(f"{SIGNATURE} is larger than {MAX_BYTES >> 20} MiB")
    try:
        return Signature.model_validate(
            json.loads(text.decode(), object_pairs_hook=_distinct), by_alias=True, by_name=False
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _Broken(
            f"{SIGNATURE} is not of the kind that is known here ({place}: {first['msg']})"
        ) from None
    except (ValueError, RecursionError) as error:
        raise _Broken(f"{SIGNATURE} is not JSON: {error}") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One object; a name that is there twice would be read differently by different readers."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _bytes_of(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise _Broken(f"{SIGNATURE}: the signature is not base64") from None


def _key_of(signature: Signature) -> PublicKey:
    try:
        return PublicKey.read(signature.public_key)
    except ValueError as error:
        raise _Broken(f"{SIGNATURE}: publicKey: {error}") from None


def _compare(folder: Path, signed: Mapping[str, str]) -> None:
    """Raise for the first file that is not as it was signed."""
    found: set[str] = set()
    for path in sorted(folder.rglob("*")):
        name, kind = path.relative_to(folder).as_posix(), path.lstat().st_mode
        if stat.S_ISDIR(kind) or name == SIGNATURE:
            continue
        if name not in signed:
            raise _Broken(f"{name!r} was added after signing")
        if not stat.S_ISREG(kind):
            raise _Broken(f"{name!r} is no plain file any more")
        if _digest(path) != signed[name]:
            raise _Broken(f"{name!r} was changed after signing")
        found.add(name)
    missing = next((name for name in sorted(signed) if name not in found), None)
    if missing is not None:
        raise _Broken(f"{missing!r} is missing")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
