"""The tokens of launched apps: for one WebSocket and one instance each, while the app lives."""

import os
import stat
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from siwatsystem.config import Settings
from siwatsystem.deepstream.app_tokens import AppTokens
from siwatsystem.deepstream.events import Exited
from siwatsystem.deepstream.service import token_of
from tests.deepstream.launching import eventually
from tests.deepstream.site import Site, site

CONTROL = "a-token-of-some-length-0123456789"


def test_a_token_is_for_one_instance_and_the_last_one_counts(tmp_path: Path):
    tokens = AppTokens(tmp_path)
    first, other = tokens.issue("one"), tokens.issue("two")
    assert (tokens.instance(first), tokens.instance(other), tokens.instance("x")) == ("one", "two", None)
    second = tokens.issue("one")
    assert (tokens.instance(first), tokens.instance(second)) == (None, "one")
    tokens.end("one")
    tokens.end("one")
    assert (tokens.instance(second), tokens.instance(other)) == (None, "two")
    eventually(lambda: [path.name for path in tmp_path.iterdir()] == ["two.token"])


def test_a_disk_that_hangs_holds_up_nobody_but_who_issues(tmp_path: Path):
    tokens = AppTokens(tmp_path)
    token = tokens.issue("two")
    pipe = tmp_path / "one.token.new"
    os.mkfifo(pipe)  # opened for writing it waits, as a disk does that hangs
    issuing = threading.Thread(target=tokens.issue, args=("one",), daemon=True)
    issuing.start()
    eventually(lambda: "one" in tokens.instances)
    ending = threading.Thread(target=tokens.end, args=("two",), daemon=True)
    ending.start()
    ending.join(5)
    assert not ending.is_alive()
    assert tokens.instance(token) is None
    assert issuing.is_alive()
    with pipe.open(encoding="ascii") as told:
        told.read()
    issuing.join(5)
    eventually(lambda: not (tmp_path / "two.token").exists())
    assert tokens.instances == ["one"]


def test_a_token_of_a_new_launch_outlives_the_end_of_the_one_before(tmp_path: Path):
    tokens = AppTokens(tmp_path)
    for _ in range(50):
        tokens.end("one")
        token = tokens.issue("one")
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "app-tokens"])
    assert AppTokens(tmp_path).instance(token) == "one"


def test_an_app_that_ends_again_while_its_file_is_deleted_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tokens = AppTokens(tmp_path)
    tokens.issue("one")
    bring, again = tokens._bring_to_disk, threading.Event()

    def ends_again(instance_id: str) -> None:
        bring(instance_id)
        monkeypatch.setattr(tokens, "_bring_to_disk", bring)
        tokens.issue("one")
        tokens.end("one")
        again.set()

    monkeypatch.setattr(tokens, "_bring_to_disk", ends_again)
    tokens.end("one")
    assert again.wait(10)
    eventually(lambda: not list(tmp_path.iterdir()))


def test_a_system_without_a_thread_left_keeps_files_only_until_the_next_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tokens = AppTokens(tmp_path)
    token = tokens.issue("one")
    tokens.issue("two")

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refused)
        tokens.end("one")
    assert tokens.instance(token) is None
    tokens.end("two")
    eventually(lambda: not list(tmp_path.iterdir()))


def test_the_disk_has_digests_for_this_user_alone_and_the_next_server_knows_the_apps(tmp_path: Path):
    token = AppTokens(tmp_path).issue("a.b-c_1")
    (path,) = tmp_path.iterdir()
    assert token.removeprefix("app_") not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (tmp_path / "torn.token").write_text("12ab")
    (tmp_path / "odd.token").write_bytes(b"\xff" * 64)
    again = AppTokens(tmp_path)
    assert (again.instance(token), again.instances) == ("a.b-c_1", ["a.b-c_1"])


def test_a_folder_that_cannot_be_written_costs_only_the_next_server_its_knowledge(tmp_path: Path):
    (tmp_path / "file").write_text("")
    tokens = AppTokens(tmp_path / "file")
    assert tokens.instance(tokens.issue("one")) == "one"
    tokens.end("one")


def test_without_a_control_token_apps_are_given_none(tmp_path: Path):
    tokens = AppTokens(tmp_path)
    assert token_of(Settings(), tokens, "one") is None
    guarded = Settings.model_validate({"control_token": CONTROL})
    token = token_of(guarded, tokens, "one")
    assert token is not None
    assert CONTROL not in token


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Site]:
    settings = {"control_token": CONTROL, "view_token": "look-0123456789"}
    with site(tmp_path, settings=settings) as running:
        running.http.headers["Authorization"] = f"Bearer {CONTROL}"
        yield running


def tokens_of(one: Site) -> AppTokens:
    application: Any = one.http.app
    return application.state.app_tokens


@contextmanager
def connected(
    one: Site, token: str, instance_id: str = "one", **headers: str
) -> Generator[WebSocketTestSession]:
    sent = {"Authorization": f"Bearer {token}", **headers}
    with (
        suppress(CancelledError),
        one.http.websocket_connect("/deepstream/ws", headers=sent) as socket,
    ):
        socket.send_json(
            {
                "type": "app_ready",
                "request_id": "q",
                "instance_id": instance_id,
                "config_path": "/configs/a.txt",
                "streams_count": 2,
            }
        )
        yield socket


def refused(one: Site, token: str, **headers: str) -> bool:
    try:
        with connected(one, token, **headers) as socket:
            socket.receive_json()
    except WebSocketDisconnect as closed:
        return closed.code == 1008
    return False


def test_an_app_connects_with_its_token_and_with_the_control_token_as_ever(one: Site):
    one.launch()
    for token in (tokens_of(one).issue("one"), CONTROL):
        with connected(one, token) as socket:
            assert socket.receive_json()["status"] == "ok"


def test_as_another_instance_it_is_told_and_closed(one: Site):
    one.launch()
    one.launch("two")
    token = tokens_of(one).issue("two")
    with connected(one, token, "one") as socket:
        ack = socket.receive_json()
        assert (ack["status"], ack["error_code"], ack["request_id"]) == ("error", "UNKNOWN_INSTANCE", "q")
        assert "token" in ack["error_message"]
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == 1008
    assert one.get("/instances/one").json()["ws_status"] == "disconnected"


def test_it_opens_nothing_else(one: Site):
    one.launch()
    headers = {"Authorization": f"Bearer {tokens_of(one).issue('one')}"}
    for method, path in (
        ("GET", "/deepstream/instances"),
        ("GET", "/openapi.json"),
        ("POST", "/deepstream/processes/cleanup"),
        ("POST", "/deepstream/instances/one/terminate"),
        ("GET", "/deepstream/ws"),
    ):
        assert one.http.request(method, path, headers=headers).status_code == 401, path
    body = {"token": headers["Authorization"].removeprefix("Bearer ")}
    assert one.http.post("/login", json=body).status_code == 401
    assert refused(one, body["token"], Origin="http://evil.example")


def test_it_ends_with_its_app_and_with_a_new_launch(one: Site):
    one.launch()
    tokens = tokens_of(one)
    first = tokens.issue("one")
    second = tokens.issue("one")
    assert refused(one, first)
    one.launcher.tell(Exited("one", 0, 1))  # an earlier run's, told late
    assert not refused(one, second)
    one.launcher.tell(Exited("one", 1, 1))
    eventually(lambda: tokens.instance(second) is None)
    assert refused(one, second)


def test_those_of_apps_that_nobody_waits_for_end_with_the_next_start(tmp_path: Path):
    folder = tmp_path / "logs" / "apps"
    folder.mkdir(parents=True)
    token = AppTokens(folder).issue("gone")
    with site(tmp_path, settings={"control_token": CONTROL}) as one:
        assert refused(one, token)
        eventually(lambda: list(folder.glob("*.token")) == [])
