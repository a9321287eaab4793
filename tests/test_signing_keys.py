import base64
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from siwatsystem.errors import InvalidSetting
from siwatsystem.signing_keys import PrivateKey, PublicKey, read_public, read_trusted

SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
    "d25bf5f0595bbe24655141438e7a100b"
)
"""RFC 8032, 7.1, test 1: the signature of the empty message."""


def test_it_is_ed25519_as_the_rfc_has_it() -> None:
    key = PrivateKey(Ed25519PrivateKey.from_private_bytes(SEED))
    assert key.public.raw == PUBLIC
    assert key.sign(b"") == SIGNATURE
    assert PublicKey(PUBLIC).verifies(SIGNATURE, b"")
    assert not PublicKey(PUBLIC).verifies(SIGNATURE, b"x")
    assert not PublicKey(PUBLIC).verifies(SIGNATURE[:-1], b"")
    assert not PublicKey(PUBLIC).verifies(b"", b"")
    assert not PrivateKey.new().public.verifies(SIGNATURE, b"")


def test_a_key_comes_back_from_its_files_and_its_line(tmp_path: Path) -> None:
    key = PrivateKey.new()
    key.save(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    loaded = PrivateKey.load(tmp_path / "key")
    assert loaded.sign(b"x") == key.sign(b"x")
    (tmp_path / "pem").write_text(key.public.pem)
    (tmp_path / "line").write_text(key.public.base64 + "\n")
    for value in (key.public.base64, str(tmp_path / "pem"), str(tmp_path / "line"), key.public.pem):
        assert read_public(value) == key.public
    with pytest.raises(FileExistsError):
        PrivateKey.new().save(tmp_path / "key")
    assert PrivateKey.load(tmp_path / "key").public == key.public


def test_keys_of_another_kind_are_told(tmp_path: Path) -> None:
    rsa = generate_private_key(65537, 2048)
    pkcs = rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "rsa").write_bytes(pkcs)
    (tmp_path / "rsa.pub").write_bytes(
        rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    locked = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    (tmp_path / "locked").write_bytes(locked)
    (tmp_path / "junk").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="Ed25519 key is needed"):
        PrivateKey.load(tmp_path / "rsa")
    with pytest.raises(ValueError, match="password"):
        PrivateKey.load(tmp_path / "locked")
    with pytest.raises(ValueError, match="no private key"):
        PrivateKey.load(tmp_path / "junk")
    with pytest.raises(ValueError, match="Ed25519 key is needed"):
        read_public(str(tmp_path / "rsa.pub"))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("nowhere.pub", "no such file"),
        ("", "nor a file"),
        ("a\0b", "nor a file"),
        (base64.b64encode(bytes(31)).decode(), "nor a file"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key can be read"),
        ("/", "nor a file"),
    ],
)
def test_a_bad_trusted_key_is_named(value: str, why: str) -> None:
    good = PublicKey(PUBLIC).base64
    with pytest.raises(InvalidSetting) as told:
        read_trusted((good, value))
    assert told.value.message.startswith("models.trusted_keys[1] = ")
    assert why in told.value.message
    assert "\n" not in told.value.message


def test_a_private_key_among_the_trusted_ones_is_told_but_not_shown(tmp_path: Path) -> None:
    key = PrivateKey.new()
    key.save(tmp_path / "key")
    text = (tmp_path / "key").read_text()
    for value in (str(tmp_path / "key"), text):
        with pytest.raises(InvalidSetting, match="private key") as told:
            read_trusted((value,))
        assert text.splitlines()[1] not in told.value.message


def test_trusted_keys_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    key = PrivateKey.new().public
    (tmp_path / "pub").write_text(key.pem)
    assert read_trusted((key.base64, str(tmp_path / "pub"))) == {key}
    assert read_trusted(()) == frozenset()
