"""The store against a real HTTP server that can be slow, cut, lie and redirect."""

import io
import json
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from siwatsystem import download, mpta_manager
from siwatsystem.config import ModelSettings
from siwatsystem.errors import ModelDownloadFailed, ModelInvalid, ModelNotFound, ModelRefused
from siwatsystem.mpta_manager import ArchiveStore

SOON = 10.0


def mpta(text: str = "weights", padding: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("pipeline.json", json.dumps({"pipeline": {"modelFile": "a.pt"}}))
        file.writestr("a.pt", text)
        file.writestr("tests/padding", os.urandom(padding))
    return buffer.getvalue()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


@dataclass
class Reply:
    """How the server answers for a path."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    drip: bool = False
    length: bool = True
    gate: threading.Event | None = None


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: dict[str, Reply] = {}
        self.requests: list[str] = []
        self.sent: list[int] = []
        self.seen_headers: list[dict[str, str]] = []
        self.ending = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that goes away is what these tests are about


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        reply = self.server.replies.get(path, Reply(status=404))
        self.server.requests.append(self.path)
        self.server.seen_headers.append(dict(self.headers))
        if reply.gate is not None:
            reply.gate.wait(SOON)
        etag = reply.headers.get("ETag")
        if etag is not None and self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.length:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.send(reply)

    def send(self, reply: Reply) -> None:
        body = reply.body if reply.cut is None else reply.body[: reply.cut]
        step = 1 if reply.drip else 1 << 16
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            self.server.sent.append(len(body[start : start + step]))
            if reply.drip and self.server.ending.wait(0.02):
                return


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, name="archives")
        thread.start()
        yield found
        found.ending.set()
        found.shutdown()
        thread.join()


@contextmanager
def opened(root: Path, allow_file: bool = False, **settings: Any) -> Iterator[ArchiveStore]:
    store = ArchiveStore(ModelSettings(**settings), root, allow_file=allow_file)
    try:
        yield store
    finally:
        store.close()


def text_of(folder: Path) -> str:
    return (folder / "a.pt").read_text()


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_one_download_serves_all_and_the_query_does_not_count(tmp_path: Path, server: Server) -> None:
    server.replies["/a.mpta"] = Reply(mpta(), headers={"ETag": '"1"'})
    with opened(tmp_path) as store:
        first = store.get(52, server.url("/a.mpta?signature=1"), "cam1")
        second = store.get(52, server.url("/a.mpta?signature=2"), "cam2")
        assert first == second
        assert first.parent == tmp_path / "52"
        assert text_of(first) == "weights"
        assert server.requests == ["/a.mpta?signature=1", "/a.mpta?signature=2"]
        assert server.seen_headers[1]["If-None-Match"] == '"1"'
        assert sum(server.sent) == len(server.replies["/a.mpta"].body), "sent once"
        status = store.status()
    assert status["total_references"] == 2
    assert status["models"]["52"] == {
        "shared_path": str(first),
        "reference_count": 2,
        "cameras_using": ["cam1", "cam2"],
    }
    assert "signature" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_who_asks_at_once_shares_one_download(tmp_path: Path, server: Server) -> None:
    gate = threading.Event()
    server.replies["/a.mpta"] = Reply(mpta(), gate=gate)
    with opened(tmp_path) as store, ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(store.get, 1, server.url("/a.mpta"), f"cam{n}") for n in range(4)]
        until(lambda: store.status()["active_downloads"] == ["1"])
        gate.set()
        assert len({job.result(SOON) for job in jobs}) == 1
        assert store.status()["total_references"] == 4
    assert len(server.requests) == 1


def test_a_slow_model_does_not_hold_up_another(tmp_path: Path, server: Server) -> None:
    gate = threading.Event()
    server.replies |= {"/slow": Reply(mpta("slow"), gate=gate), "/fast": Reply(mpta("fast"))}
    with opened(tmp_path) as store, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(store.get, 1, server.url("/slow"), "cam")
        until(lambda: server.requests)
        assert text_of(store.get(2, server.url("/fast"), "cam")) == "fast"
        assert not slow.done()
        gate.set()
        assert text_of(slow.result(SOON)) == "slow"


def test_a_failure_is_told_to_all_who_wait(tmp_path: Path, server: Server) -> None:
    gate = threading.Event()
    server.replies["/a.mpta"] = Reply(status=503, gate=gate)
    with opened(tmp_path) as store, ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(store.get, 1, server.url("/a.mpta"), f"cam{n}") for n in range(2)]
        until(lambda: server.requests)
        gate.set()
        assert all(isinstance(job.exception(SOON), ModelDownloadFailed) for job in jobs)
        server.replies["/a.mpta"] = Reply(mpta())
        assert store.get(1, server.url("/a.mpta"), "cam")


def test_a_restart_asks_and_downloads_nothing_unless_it_changed(tmp_path: Path, server: Server) -> None:
    server.replies["/a.mpta"] = Reply(mpta("one"), headers={"ETag": '"1"'})
    with opened(tmp_path) as store:
        first = store.get(1, server.url("/a.mpta"), "cam")
    sent = sum(server.sent)
    with opened(tmp_path) as store:
        assert store.get(1, server.url("/a.mpta"), "cam") == first
        assert sum(server.sent) == sent
        server.replies["/a.mpta"] = Reply(mpta("two"), headers={"ETag": '"2"'})
        second = store.get(1, server.url("/a.mpta"), "other")
        assert (text_of(first), text_of(second)) == ("one", "two"), "what is held stays as it is"
        assert store.status()["total_references"] == 2


def test_without_an_etag_the_length_tells_a_change(tmp_path: Path, server: Server) -> None:
    server.replies["/a.mpta"] = Reply(mpta("one", 300_000))
    with opened(tmp_path) as store:
        first = store.get(1, server.url("/a.mpta"), "cam")
        store.release(1, "cam")
        assert store.get(1, server.url("/a.mpta"), "cam") == first
        store.release(1, "cam")
        server.replies["/a.mpta"] = Reply(mpta("longer", 300_000))
        assert text_of(store.get(1, server.url("/a.mpta"), "cam")) == "longer"


def test_another_url_is_another_archive(tmp_path: Path, server: Server) -> None:
    server.replies |= {"/a": Reply(mpta("one")), "/b": Reply(mpta("two"))}
    with opened(tmp_path) as store:
        first, second = (store.get(1, server.url(path), "cam") for path in ("/a", "/b"))
        assert (text_of(first), text_of(second)) == ("one", "two")
        store.release(1, "cam", server.url("/b"))
        assert store.status()["models"]["1"]["shared_path"] == str(first)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("length", [True, False])
def test_a_cut_download_installs_nothing_and_is_passing(
    tmp_path: Path, server: Server, share: float, length: bool
) -> None:
    body = mpta(padding=200_000)
    server.replies["/a.mpta"] = Reply(body, cut=int(len(body) * share), length=length)
    with opened(tmp_path) as store:
        with pytest.raises(ModelDownloadFailed) as caught:
            store.get(1, server.url("/a.mpta"), "cam")
        assert not caught.value.permanent
        assert files(tmp_path) == []
        assert store.status()["total_references"] == 0
        server.replies["/a.mpta"] = Reply(body)
        assert store.get(1, server.url("/a.mpta"), "cam")


def test_an_earlier_copy_is_used_when_the_server_is_away(tmp_path: Path, server: Server) -> None:
    server.replies["/a.mpta"] = Reply(mpta("one"), headers={"ETag": '"1"'})
    with opened(tmp_path) as store:
        first = store.get(1, server.url("/a.mpta"), "cam")
    body = mpta("two", 100_000)
    for reply in (Reply(status=500), Reply(body, cut=50_000, headers={"ETag": '"2"'})):
        server.replies["/a.mpta"] = reply
        with opened(tmp_path) as store:
            assert store.get(1, server.url("/a.mpta"), "cam") == first
    server.replies["/a.mpta"] = Reply(body, headers={"ETag": '"2"'})
    with opened(tmp_path) as store:
        assert text_of(store.get(1, server.url("/a.mpta"), "cam")) == "two"


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_is_not_there_is_permanent_even_with_a_copy(tmp_path: Path, server: Server, status: int) -> None:
    server.replies["/a.mpta"] = Reply(mpta())
    with opened(tmp_path) as store:
        store.get(1, server.url("/a.mpta"), "cam")
    server.replies["/a.mpta"] = Reply(status=status)
    with opened(tmp_path) as store, pytest.raises(ModelNotFound, match=str(status)) as caught:
        store.get(1, server.url("/a.mpta?token=geheim"), "cam")
    assert caught.value.permanent
    assert "geheim" not in caught.value.message


@pytest.mark.parametrize("status", [403, 500])
def test_what_is_in_use_is_shared_when_the_server_refuses(
    tmp_path: Path, server: Server, status: int
) -> None:
    server.replies["/a.mpta"] = Reply(mpta())
    with opened(tmp_path) as store:
        first = store.get(1, server.url("/a.mpta"), "cam")
        server.replies["/a.mpta"] = Reply(status=status)
        assert store.get(1, server.url("/a.mpta"), "other") == first


def test_a_closed_port_is_passing(tmp_path: Path) -> None:
    with opened(tmp_path) as store, pytest.raises(ModelDownloadFailed, match="refused"):
        store.get(1, "http://127.0.0.1:1/a.mpta", "cam")


def test_what_is_no_archive_is_invalid_and_leaves_the_copy(tmp_path: Path, server: Server) -> None:
    server.replies["/a.mpta"] = Reply(mpta("one"))
    with opened(tmp_path) as store:
        first = store.get(1, server.url("/a.mpta"), "cam")
        store.release(1, "cam")
        before = files(tmp_path)
        server.replies["/a.mpta"] = Reply(b"<html>please log in</html>")
        with pytest.raises(ModelInvalid):
            store.get(1, server.url("/a.mpta"), "cam")
        assert text_of(first) == "one"
        assert files(tmp_path) == before


def test_a_dripping_server_is_left_at_the_deadline(tmp_path: Path, server: Server) -> None:
    server.replies["/a.mpta"] = Reply(mpta(padding=100_000), drip=True)
    begin = time.monotonic()
    with (
        opened(tmp_path, download_timeout_sec=0.5) as store,
        pytest.raises(ModelDownloadFailed, match=r"0\.5 s"),
    ):
        store.get(1, server.url("/a.mpta"), "cam")
    assert 0.4 < time.monotonic() - begin < SOON
    assert not [thread for thread in threading.enumerate() if thread.name == "download-deadline"]


def test_a_server_that_never_answers_is_left_at_the_deadline(tmp_path: Path, server: Server) -> None:
    server.replies["/a.mpta"] = Reply(mpta(), gate=server.ending)
    with opened(tmp_path, download_timeout_sec=0.3) as store, pytest.raises(ModelDownloadFailed):
        store.get(1, server.url("/a.mpta"), "cam")


def test_closing_ends_a_download(tmp_path: Path, server: Server) -> None:
    server.replies["/a.mpta"] = Reply(mpta(padding=100_000), drip=True)
    with opened(tmp_path) as store, ThreadPoolExecutor(1) as pool:
        job = pool.submit(store.get, 1, server.url("/a.mpta"), "cam")
        until(lambda: server.sent)
        store.close()
        assert isinstance(job.exception(SOON), ModelDownloadFailed)
        with pytest.raises(ModelDownloadFailed, match="closed"):
            store.get(1, server.url("/a.mpta"), "cam")
    assert files(tmp_path) == []


@pytest.mark.parametrize("length", [True, False])
def test_an_archive_over_the_size_is_refused(tmp_path: Path, server: Server, length: bool) -> None:
    server.replies["/a.mpta"] = Reply(mpta(padding=1_200_000), length=length)
    with opened(tmp_path, max_archive_mb=1) as store, pytest.raises(ModelRefused, match="larger than 1 MB"):
        store.get(1, server.url("/a.mpta"), "cam")
    assert files(tmp_path) == []


def test_three_redirects_are_followed_and_no_more(tmp_path: Path, server: Server) -> None:
    server.replies["/0"] = Reply(mpta())
    for number in range(1, 5):
        server.replies[f"/{number}"] = Reply(status=302, headers={"Location": f"/{number - 1}"})
    with opened(tmp_path) as store:
        assert store.get(1, server.url("/3"), "cam")
        with pytest.raises(ModelDownloadFailed, match="redirects"):
            store.get(1, server.url("/4"), "cam")


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/a",
        "http://169.254.169.254/latest",
        "http://[fe80::1]/a",
        "gopher:x",
    ],
)
def test_redirects_are_checked_like_the_first_address(tmp_path: Path, server: Server, target: str) -> None:
    server.replies["/a.mpta"] = Reply(status=302, headers={"Location": target})
    with opened(tmp_path, allow_file=True) as store, pytest.raises(ModelRefused):
        store.get(1, server.url("/a.mpta"), "cam")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/a.mpta",
        "/etc/passwd",
        "",
        "http://",
        "http://127.0.0.1:99999/a",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/a\r\nX: y",
        "http://169.254.169.254/a",
        "http://2852039166/a",
        "http://[::ffff:169.254.169.254]/a",
        "http://[64:ff9b::a9fe:a9fe]/a",
        "http://[fe80::1%lo]/a",
        "http://[::1/a",
    ],
)
def test_addresses_that_may_not_be_fetched_are_refused(tmp_path: Path, url: str) -> None:
    with opened(tmp_path) as store, pytest.raises(ModelRefused):
        store.get(1, url, "cam")


@pytest.mark.parametrize("headers", [{"Location": "http://[::1"}, {"Location": ""}, {}])
def test_a_redirect_to_nowhere_is_passing(tmp_path: Path, server: Server, headers: dict[str, str]) -> None:
    server.replies["/a.mpta"] = Reply(status=302, headers=headers)
    with opened(tmp_path) as store, pytest.raises(ModelDownloadFailed):
        store.get(1, server.url("/a.mpta"), "cam")


def test_only_listed_hosts_are_fetched_from(tmp_path: Path, server: Server) -> None:
    server.replies["/a.mpta"] = Reply(mpta())
    elsewhere = server.url("/a.mpta").replace("127.0.0.1", "localhost")
    with opened(tmp_path, hosts=("127.0.0.1",)) as store:
        assert store.get(1, server.url("/a.mpta"), "cam")
        with pytest.raises(ModelRefused, match="localhost"):
            store.get(1, elsewhere, "cam")
        server.replies["/b.mpta"] = Reply(status=301, headers={"Location": elsewhere})
        with pytest.raises(ModelRefused, match="localhost"):
            store.get(1, server.url("/b.mpta"), "cam")


def test_the_address_that_was_checked_is_the_one_used(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.replies["/a.mpta"] = Reply(mpta())
    answers = iter(["127.0.0.1", "169.254.169.254"])
    resolve = download.socket.getaddrinfo

    def rebinding(host: str, port: int, *args: Any, **more: Any) -> Any:
        return resolve(next(answers) if host == "rebinding.test" else host, port, *args, **more)

    monkeypatch.setattr(download.socket, "getaddrinfo", rebinding)
    url = server.url("/a.mpta").replace("127.0.0.1", "rebinding.test")
    with opened(tmp_path) as store:
        assert store.get(1, url, "cam")
    assert server.seen_headers[0]["Host"] == url.split("/")[2]


def test_a_password_goes_to_its_server_and_nowhere_else(tmp_path: Path, server: Server) -> None:
    with Server() as other:
        thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.02}, name="other")
        thread.start()
        other.replies["/a.mpta"] = Reply(mpta())
        server.replies["/a.mpta"] = Reply(status=302, headers={"Location": other.url("/a.mpta")})
        with opened(tmp_path) as store:
            store.get(1, server.url("/a.mpta").replace("//", "//user:geheim@"), "cam")
        other.shutdown()
        thread.join()
    assert server.seen_headers[0]["Authorization"].startswith("Basic ")
    assert "Authorization" not in other.seen_headers[0]
    assert "geheim" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_an_archive_that_lies_there_is_adopted(tmp_path: Path, server: Server) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "laid.mpta").write_bytes(mpta("laid"))
    with opened(tmp_path) as store:
        folder = store.get(7, server.url("/a.mpta"), "cam")
        assert text_of(folder) == "laid"
        store.release(7, "cam")
        (tmp_path / "7" / "laid.mpta").write_bytes(mpta("laid anew"))
        assert text_of(store.get(7, server.url("/a.mpta"), "cam")) == "laid anew"
        store.release(7, "cam")
        server.replies["/a.mpta"] = Reply(mpta("from the server"))
        assert text_of(store.get(7, server.url("/a.mpta"), "cam")) == "from the server"
    assert (tmp_path / "7" / "laid.mpta").exists()


def test_a_bare_model_is_stored_as_it_is(tmp_path: Path, server: Server) -> None:
    server.replies["/models/yolo n.pt"] = server.replies["/models/yolo%20n.pt"] = Reply(b"not a zip at all")
    with opened(tmp_path) as store:
        folder = store.get(1, server.url("/models/yolo%20n.pt"), "cam")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [
        ("yolo_n.pt", b"not a zip at all")
    ]


def test_files_need_a_permission(tmp_path: Path) -> None:
    source = tmp_path / "a b.mpta"
    source.write_bytes(mpta("local"))
    with opened(tmp_path / "models", allow_file=True) as store:
        folder = store.get(1, source.as_uri(), "cam")
        assert text_of(folder) == "local"
        store.release(1, "cam")
        assert store.get(1, source.as_uri(), "cam") == folder
        store.release(1, "cam")
        source.write_bytes(mpta("changed"))
        assert text_of(store.get(1, source.as_uri(), "cam")) == "changed"
        with pytest.raises(ModelNotFound):
            store.get(1, (tmp_path / "none.mpta").as_uri(), "cam")
    with opened(tmp_path / "other") as store, pytest.raises(ModelRefused, match="not allowed"):
        store.get(1, source.as_uri(), "cam")


def test_the_longest_unused_is_evicted_and_what_is_held_never(tmp_path: Path, server: Server) -> None:
    for number in range(4):
        server.replies[f"/{number}"] = Reply(mpta(str(number), 150_000))
    export = tmp_path / ".runtime" / ("0" * 32)
    export.mkdir(parents=True)
    os.utime(export, (1, 1))
    with opened(tmp_path, cache_mb=1) as store:
        folders: list[Path] = []
        for number in range(3):
            folders.append(store.get(number, server.url(f"/{number}"), "cam"))
            os.utime(folders[-1], (1000 + number, 1000 + number))
        store.release(1, "cam")
        store.release(2, "cam")
        folders.append(store.get(3, server.url("/3"), "cam"))
        assert [folder.exists() for folder in folders] == [True, False, True, True]
        assert not folders[1].with_suffix(".mpta").exists()
        assert export.exists()
        assert text_of(store.get(1, server.url("/1"), "cam")) == "1"


@pytest.mark.parametrize("model_id", ["../../evil", "a/b", "..", ".hidden", "a\0b", "", "ü" * 300, "CON 1"])
def test_model_ids_stay_inside_the_folder(tmp_path: Path, server: Server, model_id: str) -> None:
    server.replies["/a.mpta"] = Reply(mpta())
    root = tmp_path / "models"
    with opened(root) as store:
        folder = store.get(model_id, server.url("/a.mpta"), "cam")
    assert folder.parent.parent == root
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, server: Server) -> None:
    server.replies["/a.mpta"] = Reply(mpta())
    (tmp_path / "models").write_text("in the way")
    with opened(tmp_path / "models") as store, pytest.raises(ModelDownloadFailed, match="stored"):
        store.get(1, server.url("/a.mpta"), "cam")
    assert store.status()["active_downloads"] == []


def test_ids_that_could_not_be_fetched_leave_nothing_behind(tmp_path: Path, server: Server) -> None:
    server.replies["/bad"] = Reply(b"no archive")
    server.replies["/slow"] = Reply(mpta("slow"), gate=threading.Event())
    with opened(tmp_path) as store, ThreadPoolExecutor(1) as pool:
        for number, path in enumerate(("/none", "/bad")):
            with pytest.raises((ModelNotFound, ModelInvalid)):
                store.get(f"strange/{number}", server.url(path), "cam")
        assert list(tmp_path.iterdir()) == []
        # Another address of the same id is being fetched to the folder meanwhile.
        slow = pool.submit(store.get, 1, server.url("/slow"), "cam")
        until(lambda: "/slow" in server.requests)
        with pytest.raises(ModelNotFound):
            store.get(1, server.url("/none"), "cam")
        assert (tmp_path / "1").is_dir()
        server.replies["/slow"].gate.set()  # type: ignore[union-attr]
        assert text_of(slow.result(SOON)) == "slow"


@pytest.mark.parametrize(("before", "after"), [(None, 0o700), (0o755, 0o750), (0o700, 0o700)])
def test_other_users_may_not_look_at_archives(tmp_path: Path, before: int | None, after: int) -> None:
    root = tmp_path / "models"
    if before is not None:
        root.mkdir()
        root.chmod(before)
    with opened(root):
        assert root.stat().st_mode & 0o777 == after


def test_leftovers_of_a_killed_worker_are_removed(tmp_path: Path, server: Server) -> None:
    server.replies["/a.mpta"] = Reply(mpta())
    old, new, other = (tmp_path / "1" / name for name in (".fetch-old", ".fetch-new", ".gitkeep"))
    (tmp_path / "1").mkdir()
    for path in (old, new, other):
        path.write_text("half")
    os.utime(old, (1000, 1000))
    os.utime(other, (1000, 1000))
    with opened(tmp_path) as store:
        store.get(1, server.url("/a.mpta"), "cam")
    assert [path.exists() for path in (old, new, other)] == [False, True, True]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["archive.mpta", "weights.onnx"])
@pytest.mark.parametrize("damage", ["emptied", "record cut", "record deep", "record of another layout"])
def test_a_damaged_copy_is_fetched_anew(tmp_path: Path, server: Server, name: str, damage: str) -> None:
    body = mpta("one") if name == "archive.mpta" else b"weights"
    server.replies[f"/{name}"] = Reply(body, headers={"ETag": '"1"'})
    with opened(tmp_path) as store:
        folder = store.get(1, server.url(f"/{name}"), "a")
        whole = contents(folder)
    (record,) = (tmp_path / "1").glob("*.json")
    if damage == "emptied":
        shutil.rmtree(folder)
        folder.mkdir()
    elif damage == "record cut":
        record.write_text(record.read_text()[:30])
    elif damage == "record deep":
        record.write_text("[" * 100_000)
    else:
        record.write_text(json.dumps({"format": 2, "copies": []}))
    with opened(tmp_path) as store:
        again = store.get(1, server.url(f"/{name}"), "a")
        assert contents(again) == whole


def test_the_python_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.mpta"
    source.write_bytes(mpta())
    monkeypatch.chdir(tmp_path)
    try:
        found = mpta_manager.get_or_download_mpta(52, source.as_uri(), "cam1")
        assert found is not None
        folder, file = found
        assert Path(folder).parent == tmp_path / "models" / "52"
        assert Path(file).read_bytes() == source.read_bytes()
        assert mpta_manager.get_or_download_mpta(52, "file:///nowhere.mpta", "cam1") is None
        mpta_manager.get_or_download_mpta(52, source.as_uri(), "cam2")
        assert mpta_manager.get_mpta_manager_status() == {
            "total_mpta_models": 1,
            "models": {
                "52": {"shared_path": folder, "reference_count": 2, "cameras_using": ["cam1", "cam2"]}
            },
            "total_references": 2,
            "active_downloads": [],
        }
        mpta_manager.release_mpta(52, "cam1")
        assert mpta_manager.get_mpta_manager_status()["total_references"] == 1
    finally:
        mpta_manager.cleanup_mpta_manager()
    assert mpta_manager.get_mpta_manager_status()["total_references"] == 0
    mpta_manager.cleanup_mpta_manager()


def test_the_python_functions_work_on_an_installed_store(tmp_path: Path) -> None:
    source = tmp_path / "a.mpta"
    source.write_bytes(mpta())
    with opened(tmp_path / "models") as store:
        mpta_manager.set_default_store(store)
        try:
            assert mpta_manager.get_or_download_mpta(52, source.as_uri(), "cam1") is not None
            assert store.status()["models"]["52"]["cameras_using"] == ["cam1"]
            mpta_manager.cleanup_mpta_manager()
            assert mpta_manager.get_mpta_manager_status() == store.status()
            assert store.status()["total_references"] == 1, "the worker's own store is left alone"
            with pytest.raises(ModelRefused):
                store.get(52, source.as_uri(), "a stranger")
        finally:
            mpta_manager.set_default_store(None)
