"""Ways to an RTSP camera that are rarer: TLS, IPv6, digest authentication."""

import datetime
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from siwatsystem.streams.spec import SourceSpec
from tests.cameras import Pool, misbehaving, pools
from tests.servers import until
from tests.streams.scripted_rtsp import Rtp, Scripted, access_units, answer

__all__ = ["pools"]

pytestmark = pytest.mark.xdist_group("streams")

MakePool = Callable[..., Pool]


def play(connection: socket.socket) -> None:
    rtp = Rtp(connection)
    for unit in access_units(200, range(0, 200, 10)):
        rtp.send(unit.data, unit.number / 20)
        time.sleep(0.05)


def certificate(folder: Path) -> Path:
    """A file with a key and a certificate that it signed itself, for `localhost`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=now - datetime.timedelta(days=1),
        not_valid_after=now + datetime.timedelta(days=1),
    ).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / "server.pem"
    path.write_bytes(key.private_bytes(pem, form, plain) + built.public_bytes(pem))
    return path


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_over_tls(pools: MakePool, tmp_path: Path, host: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as line:
            Scripted(play)(line)

    with misbehaving(serve) as port:
        pool = pools()
        source = pool.acquire(SourceSpec(f"rtsps://{host}:{port}/x"))
        until(lambda: source.online, 20)
        pool.release(source)  # the camera would wait for it: its line is not the socket that is closed below


def test_over_ipv6(pools: MakePool) -> None:
    with misbehaving(Scripted(play), "::1") as port:
        source = pools().acquire(SourceSpec(f"rtsp://[::1]:{port}/x"))
        until(lambda: source.online, 20)


def test_by_name(pools: MakePool) -> None:
    with misbehaving(Scripted(play), "127.0.0.1") as port:
        source = pools().acquire(SourceSpec(f"rtsp://localhost:{port}/x"))
        until(lambda: source.online or source.error, 20)
        # Where the name's first address is ::1, nobody listens there.
        assert source.online or source.error is not None


def test_with_a_digest(pools: MakePool) -> None:
    challenge = answer("{cseq}", "", "401 Unauthorized", 'WWW-Authenticate: Digest realm="x", nonce="abc"')
    camera = Scripted(play, instead={"DESCRIBE": challenge}, unless="Authorization: Digest")
    with misbehaving(camera) as port:
        source = pools().acquire(SourceSpec(f"rtsp://user:s3cret@127.0.0.1:{port}/x"))
        until(lambda: source.online, 20)
    assert not any("s3cret" in one for one in camera.asked)
