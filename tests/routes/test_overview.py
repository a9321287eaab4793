"""What the dashboard reads, over HTTP: who may, and what is answered to what is not there."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from siwatsystem.app import create_app
from siwatsystem.config import Settings
from siwatsystem.overview.board import Still

TOKENS = {"control_token": "command-0123456789", "view_token": "look-0123456789"}


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name]}"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    settings = {"data_dir": tmp_path, "logs": {"file": None}, **TOKENS}
    with TestClient(create_app(Settings.model_validate(settings))) as found:
        yield found


def test_the_state_says_what_the_caller_may(client: TestClient):
    assert client.get("/dashboard/state").status_code == 401
    for name, role in (("view_token", "view"), ("control_token", "control")):
        answer = client.get("/dashboard/state", headers=bearer(name))
        assert answer.headers["x-role"] == role
        state = answer.json()
        assert state["cameras"] == state["feed"] == state["problems"] == []
        assert state["headline"]["text"] == "No camera is subscribed"
        assert not state["open"]
    assert client.get("/dashboard/history", headers=bearer("view_token")).json()["step_sec"] > 0


def test_the_state_says_whether_the_browser_has_logged_in(client: TestClient):
    assert client.get("/dashboard/state", headers=bearer("view_token")).headers["x-login"] == "no"
    assert client.post("/login", json={"token": TOKENS["view_token"]}).status_code == 200
    assert client.get("/dashboard/state").headers["x-login"] == "yes"
    client.post("/logout")
    assert client.get("/dashboard/state", headers=bearer("view_token")).headers["x-login"] == "no"


def test_a_test_that_its_page_has_left_can_be_ended(client: TestClient):
    wish = {
        "modelId": 1,
        "modelName": "M",
        "modelUrl": "http://127.0.0.1:1/m",
        "rtspUrl": "rtsp://127.0.0.1:1/s",
    }
    headers = bearer("control_token")

    def end(name: str) -> int:
        return client.delete(f"/dashboard/camera/{name}", headers=headers).status_code

    worker, portal = client.app.state.worker, client.portal  # type: ignore[attr-defined]
    assert portal is not None
    page = portal.call(worker.connect)
    for name in ("dashboard;a/b", "display;camera"):
        wanted = {"type": "subscribe", "payload": {"subscriptionIdentifier": name, **wish}}
        portal.call(worker.receive, page, json.dumps(wanted))
    assert end("dashboard;a/b") == 409  # its page is open
    portal.call(worker.disconnect, page)
    assert client.delete("/dashboard/camera/dashboard;a/b", headers=bearer("view_token")).status_code == 403
    assert [end("dashboard;a/b"), end("dashboard;a/b")] == [204, 404]
    assert end("display;camera") == 409  # no test
    cameras = client.get("/dashboard/state", headers=headers).json()["cameras"]
    assert [camera["id"] for camera in cameras] == ["display;camera"]


def test_who_needs_no_token_may_command(tmp_path: Path):
    settings = Settings.model_validate({"data_dir": tmp_path, "logs": {"file": None}})
    with TestClient(create_app(settings)) as client:
        assert client.get("/dashboard/state").headers["x-role"] == "control"


def test_a_webhook_is_never_a_command(tmp_path: Path):
    """An archive may have a worker post to any address, also to one on its own machine."""
    settings = Settings.model_validate({"data_dir": tmp_path, "logs": {"file": None}})
    with TestClient(create_app(settings)) as client:
        for path in ("/dashboard/try", "/nothing"):
            assert client.post(path, json={}, headers={"webhook-id": "msg_1"}).status_code == 403


def test_what_is_not_there(client: TestClient):
    headers = bearer("view_token")
    assert client.get("/dashboard/camera/no;such", headers=headers).status_code == 404
    assert client.get("/dashboard/camera/no;such/still", headers=headers).status_code == 204
    assert client.get("/dashboard/seen/7", headers=headers).status_code == 404
    for width in ("0", "100000", "wide"):
        path = f"/dashboard/camera/no;such/still?width={width}"
        assert client.get(path, headers=headers).status_code == 422
    assert client.get("/dashboard/seen/x", headers=headers).status_code == 422


def test_to_look_is_not_to_try(client: TestClient):
    assert client.post("/dashboard/try", headers=bearer("view_token")).status_code == 403
    assert client.post("/dashboard/try").status_code == 401
    foreign = {**bearer("control_token"), "Origin": "http://evil.example"}
    assert client.post("/dashboard/try", headers=foreign).status_code == 403
    assert client.post("/dashboard/try", headers=bearer("control_token")).status_code == 404


def test_a_picture_and_what_was_seen_on_it(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    """In the body: proxies take no header of that size."""
    seen = {"size": [640, 360], "boxes": 100 * [{"class": "Auto – größer\n", "words": 20 * ["汽车"]}]}

    async def still(identifier: str, width: int, known: str | None = None) -> Still:
        assert (identifier, width, known) == ("d;größer/still", 320, "7-3")
        return Still("7-4", b"jpeg", seen)

    monkeypatch.setattr(client.app.state.board, "still", still)  # type: ignore[attr-defined]
    answer = client.get(
        "/dashboard/camera/d;größer%2Fstill/still?width=320&known=7-3", headers=bearer("view_token")
    )
    assert (answer.status_code, answer.headers["x-picture"]) == (200, "7-4")
    end = 4 + int.from_bytes(answer.content[:4], "big")
    assert (json.loads(answer.content[4:end]), answer.content[end:]) == (seen, b"jpeg")
    assert sum(len(name) + len(value) for name, value in answer.headers.raw) < 2000
    assert answer.headers["cache-control"] == "no-store"


def test_a_picture_that_cannot_be_encoded(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    async def still(*_: object) -> Still:
        raise ValueError("a picture of shape (0, 0, 3) cannot be encoded")

    monkeypatch.setattr(client.app.state.board, "still", still)  # type: ignore[attr-defined]
    answer = client.get("/dashboard/camera/d;c/still", headers=bearer("view_token"))
    assert (answer.status_code, answer.json()["detail"][:9]) == (500, "a picture")
