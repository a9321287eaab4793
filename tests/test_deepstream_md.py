"""deepstream.md played from its first example to its last, and its tables against the code."""

import contextlib
import json
import re
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import WebSocketTestSession

from siwatsystem.config import ControlSettings, WebSocketSettings
from siwatsystem.deepstream import wire_states
from siwatsystem.deepstream.application import MAX_BODY_BYTES
from siwatsystem.deepstream.apps import App, Slot, Spec
from siwatsystem.deepstream.changes import Changes
from siwatsystem.deepstream.events import Exited
from siwatsystem.deepstream.fields import MAX_FILES
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.messages import TO_APP, TO_SERVER, app_message, server_message
from siwatsystem.deepstream.routes.events import HEARTBEAT_SEC
from siwatsystem.deepstream.routes.socket import FIRST_MESSAGE_SEC
from tests.deepstream.site import Site, site

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "deepstream.md").read_text(encoding="utf-8")
STEPS = re.findall(
    r"^((?:client|app|server) → [^\n]+)\n(?:\n```json\n(.*?)```)?", TEXT, re.MULTILINE | re.DOTALL
)
OF_THE_MOMENT = {"timestamp", "log_path", "message"}


def differs(said: Any, found: Any, where: str = "") -> str | None:
    """Where `found` has not all that the example says; what is of the moment aside."""
    if isinstance(said, dict):
        for key, value in said.items():
            if key not in OF_THE_MOMENT:
                if key not in found:
                    return f"{where}.{key} is missing"
                if (told := differs(value, found[key], f"{where}.{key}")) is not None:
                    return told
        return None
    if isinstance(said, list):
        if len(said) != len(found):
            return f"{where}: {found}"
        each = (differs(*pair, f"{where}[]") for pair in zip(said, found, strict=True))
        return next((told for told in each if told is not None), None)
    return None if said == found else f"{where}: {found!r}, not {said!r}"


class Player:
    def __init__(self, one: Site) -> None:
        self.one = one
        self.stack = contextlib.ExitStack()
        self.talk = self.stack.enter_context(contextlib.ExitStack())
        self.socket: WebSocketTestSession | None = None
        self.asked: tuple[str, str, Any] = ("", "", None)
        self.pool = self.stack.enter_context(ThreadPoolExecutor(1))
        self.told: Future[Any] | None = None

    def connect(self) -> None:
        """A new connection; the one before is lost."""
        self.talk.close()
        self.talk.enter_context(contextlib.suppress(CancelledError))
        self.socket = self.talk.enter_context(self.one.http.websocket_connect("/deepstream/ws"))

    def play(self, label: str, body: Any) -> None:
        if label.startswith("client → server"):
            method, path = label.partition("`")[2].rstrip("`").split()
            self.asked = (method, path, body)
            # Some commands are answered only after the app was heard.
            self.told = None if method == "GET" else self.pool.submit(self.request)
        elif label.startswith("server → client"):
            self.answered(int((re.findall(r"\d+", label) or ["200"])[0]), body)
        elif label.startswith("app → server"):
            app_message(json.dumps(body))
            if body["type"] == "app_ready":
                self.connect()
            assert self.socket is not None
            self.socket.send_json(body)
        else:
            server_message(json.dumps(body))
            assert self.socket is not None
            assert differs(body, found := self.socket.receive_json()) is None, (body, found)

    def request(self) -> Any:
        method, path, body = self.asked
        return self.one.http.request(method, path, json=body)

    def answered(self, status: int, body: Any) -> None:
        """At once for a command; a question may have to be asked again until the app's words are there."""
        method, path, _ = self.asked
        deadline = time.monotonic() + 10
        while True:
            answer = self.request() if self.told is None else self.told.result(20)
            told = differs(body, answer.json())
            if told is None and answer.status_code == status:
                return
            assert method == "GET", (path, told)
            assert time.monotonic() < deadline, (path, told)
            time.sleep(0.02)


def test_the_document_can_be_played(tmp_path: Path):
    assert len(STEPS) > 40
    with site(tmp_path, Limits()) as one:
        player = Player(one)
        with player.stack:
            for label, body in STEPS:
                player.play(label, json.loads(body) if body else None)
        # They end with their connections; the server would give them their time to do so.
        for app in one.launcher.launched:
            one.launcher.tell(Exited(app.instance_id, app.run, 0))


def test_every_conversation_has_its_messages():
    told = {json.loads(body)["type"] for label, body in STEPS if body and "app" in label.split(",")[0]}
    models = {model.model_fields["type"].default for model in (*TO_SERVER, *TO_APP)}
    assert told == models


def test_the_example_of_an_event_is_one():
    ((kind, number, data),) = re.findall(r"^event: (\w+)\nid: (\S+)\ndata: (.+)$", TEXT, re.MULTILINE)
    said = json.loads(data)
    changes = Changes(number.rpartition("-")[0], 5)
    changes.add(said["kind"], said["key"], said["value"])
    found = changes.since(changes.id(0))
    assert kind == "change"
    assert found is not None
    assert [(each.kind, each.key, each.value) for each in found] == [
        (said["kind"], said["key"], said["value"])
    ]
    slot = wire_states.slot(App("gate", Spec("/configs/a.txt")), Slot(0))
    assert said["value"].keys() <= slot.keys()


def test_every_block_of_json_is_a_step():
    assert len(re.findall(r"^```json$", TEXT, re.MULTILINE)) == sum(bool(body) for _, body in STEPS)


def test_the_table_has_every_route(tmp_path: Path):
    with site(tmp_path) as one:
        paths = one.http.get("/openapi.json").json()["paths"]
    served = {
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/deepstream/") and not path.startswith("/deepstream/test/")
    }
    assert set(re.findall(r"^\| (GET|POST) \| `([^`]+)`", TEXT, re.MULTILINE)) == served
    tests = {path.removeprefix("/deepstream/test/") for path in paths if path.startswith("/deepstream/test/")}
    assert all(path in TEXT for path in tests)


@pytest.mark.parametrize(
    "words",
    [
        f"127.0.0.1:{ControlSettings().port}",
        f"`{ControlSettings().log_file}`",
        f"within {FIRST_MESSAGE_SEC:g} seconds",
        f"every {HEARTBEAT_SEC:g} seconds",
        f"{MAX_BODY_BYTES // 2**20} MiB",
        f"{MAX_FILES:,} files",
        f"has {Limits().push_window} of a request",
        f"{Limits().stop_sec:g} seconds later SIGTERM",
        f"{Limits().term_sec:g} seconds after that SIGKILL",
        f"{WebSocketSettings().max_message_kb // 1024} MiB, nest {WebSocketSettings().max_depth} deep",
        f"{WebSocketSettings().rate_per_sec:g} times a second",
    ],
)
def test_figures_are_those_of_the_code(words: str):
    assert words in " ".join(TEXT.split())


def test_links_lead_somewhere():
    titles = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    assert re.findall(r"\]\(#([\w-]+)\)", TEXT) == [title.lower().replace(" ", "-") for title in titles]
    for file in re.findall(r"\]\(([\w./]+\.md)\)", TEXT):
        assert (ROOT / file).exists()
