"""Ed25519 keys: as PEM files, and a public one also as a line of base64 (its 32 bytes)."""

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from siwatsystem.errors import InvalidSetting

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIZE = 32
MAX_BYTES = 64 << 10
PEM = "-----BEGIN"
PUBLIC_SUFFIX = ".pub"
_ENCODED = re.compile(r"[A-Za-z0-9+=]{40}|[A-Za-z0-9+/=]{56}")
"""So long a run is rather a key in base64 than the name of a file."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What signatures are checked with: 32 bytes."""

    raw: bytes

    @classmethod
    def read(cls, text: str) -> Self:
        """The key of a line of base64, or of a PEM text. Raises ValueError, saying what is wrong."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        text = text.strip()
        if text.startswith(PEM):
            if "PRIVATE KEY" in text.partition("\n")[0]:
                raise ValueError(
                    "this is a private key, which belongs to its owner alone; give the public one"
                )
            try:
                key = load_pem_public_key(text.encode())
            except (ValueError, UnsupportedAlgorithm):
                raise ValueError("no public key can be read from this PEM") from None
            if not isinstance(key, Ed25519PublicKey):
                raise ValueError("an Ed25519 key is needed, this is one of another kind")
            return cls(key.public_bytes_raw())
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("neither base64 nor PEM") from None
        if len(raw) != SIZE:
            raise ValueError(f"a public key has {SIZE} bytes, not {len(raw)}")
        return cls(raw)

    @property
    def base64(self) -> str:
        return base64.b64encode(self.raw).decode()

    @property
    def fingerprint(self) -> str:
        """As ssh writes fingerprints: `SHA256:` and the digest of the key in base64."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.raw).digest()).decode().rstrip("=")

    @property
    def pem(self) -> str:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` was made over `message` with the private half of this key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class PrivateKey:
    """What archives are signed with."""

    def __init__(self, key: "Ed25519PrivateKey") -> None:
        self._key = key

    @classmethod
    def new(cls) -> Self:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Self:
        """The key of a PEM file. Raises ValueError, saying what is wrong, OSError."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        data = _content(path)
        try:
            key = load_pem_private_key(data, password=None)
        except TypeError:
            raise ValueError(f"{path}: the key is protected by a password, which is not supported") from None
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError(f"{path}: no private key can be read from it (`siwat mpta keygen`)") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{path}: an Ed25519 key is needed (`siwat mpta keygen`)")
        return cls(key)

    @property
    def public(self) -> PublicKey:
        return PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """64 bytes, always the same ones for the same message."""
        return self._key.sign(message)

    def save(self, path: Path) -> None:
        """Write the key as PEM for its owner's eyes only. Raises FileExistsError, OSError."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pem)


def read_public(value: str) -> PublicKey:
    """The public key that is `value` itself (base64) or lies in the file of that name (base64 or PEM).

    Raises ValueError, saying what is wrong.
    """
    if value.strip().startswith(PEM):
        return PublicKey.read(value)
    try:
        return PublicKey.read(value)
    except ValueError:
        path = Path(value)
    try:
        text = _content(path).decode()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = (error.strerror or "cannot be opened").lower() if isinstance(error, OSError) else "no text"
        raise ValueError(
            f"neither a public key in base64 (32 bytes) nor a file with one ({reason})"
        ) from None
    return PublicKey.read(text)


def shown(value: str) -> str:
    """What may be printed of a text that should have been a public key: a private one may not, nor what
    is left of one."""
    if "---" in value or "PRIVATE" in value or len(value.splitlines()) > 1:
        return "***"
    return f"{value[:8]}…" if _ENCODED.search(value) else value[:100]


def read_trusted(values: tuple[str, ...]) -> frozenset[PublicKey]:
    """The keys of the setting `models.trusted_keys`. Raises InvalidSetting naming the one that is none."""
    keys: set[PublicKey] = set()
    for index, value in enumerate(values):
        try:
            keys.add(read_public(value))
        except ValueError as error:
            raise InvalidSetting(f"models.trusted_keys[{index}] = {shown(value)!r}: {error}") from None
    return frozenset(keys)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES)
