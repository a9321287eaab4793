"""Servers that mean harm: endless, slow, blown up, or pointing elsewhere. Archives first, then cameras."""

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from siwatsystem import download
from siwatsystem.config import ModelSettings, StreamSettings
from siwatsystem.download import Download
from siwatsystem.errors import ModelDownloadFailed, ModelRefused, SiwatError, StreamError
from siwatsystem.streams.address import parse_address
from siwatsystem.streams.cutoff import Cutoff
from siwatsystem.streams.http import CameraHttp

DEADLINE = 1.0
PATIENCE = 3 * DEADLINE + 2
Say = Callable[[socket.socket, bytes], None]


@contextmanager
def hostile(say: Say) -> Iterator[int]:
    """A server that answers every connection with `say(link, request)`, in a thread of its own; its port."""
    ending = threading.Event()

    def serve(link: socket.socket) -> None:
        with link, contextlib.suppress(OSError):
            request = link.recv(65536)
            say(link, request)

    def accept() -> None:
        while not ending.is_set():
            with contextlib.suppress(OSError):
                link, _ = listener.accept()
                link.settimeout(10)
                threading.Thread(target=serve, args=(link,), name="hostile", daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        thread = threading.Thread(target=accept, name="hostile")
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            ending.set()
            thread.join()


def for_ever(head: bytes, more: bytes, pause: float = 0.0) -> Say:
    def say(link: socket.socket, _: bytes) -> None:
        link.sendall(head)
        while True:
            link.sendall(more)
            time.sleep(pause)

    return say


def moved(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS: dict[str, Say] = {
    "a body without a length": for_ever(OK + b"\r\n", b"x" * 65536),
    "chunks": for_ever(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"8000\r\n" + b"x" * 0x8000 + b"\r\n"),
    "a length that is a lie": for_ever(OK + b"Content-Length: 5\r\n\r\n", b"x" * 65536),
    "status lines": for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "headers": for_ever(OK, b"X-A: b\r\n"),
    "one header": for_ever(OK + b"X-A: ", b"a" * 65536),
    "a byte now and then": for_ever(OK + b"Content-Length: 90000\r\n\r\n", b"x", 0.05),
    "a byte of a header now and then": for_ever(OK + b"X-A: ", b"a", 0.05),
    "a chunk's size": for_ever(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 4096),
    "trailers": for_ever(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X-A: b\r\n"),
    "nothing at all": for_ever(b"", b"", 0.1),
}


@pytest.mark.parametrize("how", ENDLESS)
def test_a_download_ends_in_time_and_in_size(how: str, tmp_path: Path):
    settings = ModelSettings(download_timeout_sec=DEADLINE, max_archive_mb=8)
    target = tmp_path / "a.part"
    with hostile(ENDLESS[how]) as port:
        began = time.monotonic()
        if how == "a length that is a lie":
            found = Download(f"http://127.0.0.1:{port}/a", target, settings).run()
            assert found is not None
            assert found.version.size == 5
        else:
            with pytest.raises((ModelDownloadFailed, ModelRefused)):
                Download(f"http://127.0.0.1:{port}/a", target, settings).run()
        assert time.monotonic() - began < PATIENCE
    if target.exists():
        assert target.stat().st_size <= 8 << 20


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip"])
def test_what_is_packed_on_the_way_is_not_unpacked(encoding: str, tmp_path: Path):
    bomb = gzip.compress(gzip.compress(bytes(64 << 20)))

    def say(link: socket.socket, request: bytes) -> None:
        assert b"accept-encoding: identity" in request.lower()
        link.sendall(
            OK + f"Content-Encoding: {encoding}\r\nContent-Length: {len(bomb)}\r\n\r\n".encode() + bomb
        )

    with hostile(say) as port, pytest.raises(ModelDownloadFailed, match="encoding"):
        Download(f"http://127.0.0.1:{port}/a", tmp_path / "a", ModelSettings()).run()


SPELLINGS = [
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "169.254.169.254.",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[0:0:0:0:0:ffff:a9fe:a9fe]",
    "[::a9fe:a9fe]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[fd00:ec2::254]",
    "0.0.0.0",
    "0",
    "[::]",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_a_forbidden_address_is_reached_at_once_or_by_a_redirect(host: str, tmp_path: Path):
    def say(link: socket.socket, _: bytes) -> None:
        link.sendall(moved(f"http://{host}:{port}/latest"))

    with hostile(say) as port:
        for url in (f"http://{host}:{port}/a", f"http://127.0.0.1:{port}/a"):
            settings = ModelSettings(connect_timeout_sec=2, download_timeout_sec=4)
            with pytest.raises(SiwatError) as refused:
                Download(url, tmp_path / "a", settings).run()
            # Some resolvers know no such spelling: then there is no address, which is as good.
            assert isinstance(refused.value, ModelRefused) or "no such host" in refused.value.message
            camera = CameraHttp(StreamSettings(connect_timeout_sec=2, read_timeout_sec=2), Cutoff())
            with pytest.raises(StreamError) as told:
                camera.get(parse_address(url, StreamSettings()))
            camera.close()
            assert told.value.code == "stream_refused" or "no such host" in told.value.message


def test_a_redirect_never_leaves_tls_or_http(tmp_path: Path):
    settings = ModelSettings(allow_file=True)
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/a", "data:text/plain,x", "//[::1", "javascript:x"):

        def say(link: socket.socket, _: bytes, target: str = target) -> None:
            link.sendall(moved(target))

        with hostile(say) as port, pytest.raises((ModelRefused, ModelDownloadFailed)):
            Download(f"http://127.0.0.1:{port}/a", tmp_path / "a", settings).run()
        assert not (tmp_path / "a").exists()


def test_a_downgrade_from_tls_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Over a connection whose TLS is taken away under it: the rule looks at the address, not the socket."""

    class Plain:
        def wrap_socket(self, link: socket.socket, **_: Any) -> socket.socket:
            return link

    monkeypatch.setattr(download.ssl, "create_default_context", Plain)
    fetched: list[bytes] = []

    def say(link: socket.socket, request: bytes) -> None:
        fetched.append(request)
        link.sendall(
            f"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:{port}/b\r\nContent-Length: 0\r\n\r\n".encode()
        )

    with hostile(say) as port, pytest.raises(ModelRefused, match="leads on"):
        Download(f"https://127.0.0.1:{port}/a", tmp_path / "a", ModelSettings()).run()
    assert len(fetched) == 1


@pytest.mark.parametrize("elsewhere", ["localhost:{port}", "127.0.0.2:{port}", "127.0.0.1:{other}"])
def test_a_password_stays_with_its_server(elsewhere: str, tmp_path: Path):
    asked: list[bytes] = []

    def last(link: socket.socket, request: bytes) -> None:
        asked.append(request)
        link.sendall(OK + b"Content-Length: 2\r\n\r\nok")

    def first(link: socket.socket, request: bytes) -> None:
        if b" /moved " in request:
            last(link, request)
            return
        place = elsewhere.format(port=port, other=other)
        link.sendall(
            f"HTTP/1.1 302 F\r\nLocation: http://{place}/moved\r\nContent-Length: 0\r\n\r\n".encode()
        )

    with hostile(last) as other, hostile(first) as port:
        url = f"http://user:zqSecret@127.0.0.1:{port}/a?sig=zqSigned"
        with contextlib.suppress(ModelDownloadFailed):  # no 127.0.0.2 here: nobody was told anything
            Download(url, tmp_path / "a", ModelSettings(connect_timeout_sec=2)).run()
    for request in asked:
        assert b"authorization" not in request.lower()
        assert b"zqSigned" not in request
        assert b"referer" not in request.lower()


def test_a_name_that_nobody_resolves_does_not_hold_up_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(download.socket, "getaddrinfo", lambda *_, **__: time.sleep(8) or [])
    began = time.monotonic()
    with pytest.raises(ModelDownloadFailed, match=r"not resolved within 0\.5 s"):
        Download("http://slow.test/a", tmp_path / "a", ModelSettings(connect_timeout_sec=0.5)).run()
    assert time.monotonic() - began < PATIENCE


def test_many_addresses_that_do_not_answer_end_with_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    many = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{n}", 80)) for n in range(1, 60)]

    def nobody(*_: Any, **__: Any) -> socket.socket:
        time.sleep(0.2)
        raise TimeoutError("timed out")

    monkeypatch.setattr(download.socket, "getaddrinfo", lambda *_, **__: many)
    monkeypatch.setattr(download.socket, "create_connection", nobody)
    began = time.monotonic()
    with pytest.raises(ModelDownloadFailed, match="took longer than 1 s"):
        Download("http://many.test/a", tmp_path / "a", ModelSettings(download_timeout_sec=DEADLINE)).run()
    assert time.monotonic() - began < PATIENCE


@pytest.mark.parametrize(
    "answers", [["127.0.0.1", "169.254.169.254"], ["169.254.169.254", "127.0.0.1"], ["127.0.0.1", "fe80::1"]]
)
def test_one_forbidden_address_among_a_names_refuses_it(
    answers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = [(socket.AF_INET6 if ":" in ip else socket.AF_INET, 1, 6, "", (ip, 80)) for ip in answers]
    monkeypatch.setattr(download.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ModelRefused, match=r"mixed\.test"):
        Download("http://mixed.test/a", tmp_path / "a", ModelSettings()).run()
