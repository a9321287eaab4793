"""`docs/sinks.md` is true: its archive is opened, its messages are sent, its receiver checks them."""

import json
import re
import threading
from contextlib import ExitStack, closing, suppress
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.actions.base import OutboxEvent
from siwatsystem.actions.build import message_job
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.receivers import webhook_target
from siwatsystem.actions.spec import Webhook
from siwatsystem.config import OutboxSettings, Settings
from siwatsystem.pipeline.opening import register_targets
from siwatsystem.pipeline.spec import parse
from siwatsystem.pipeline.warnings import warnings_of

TEXT = (Path(__file__).parent.parent / "docs" / "sinks.md").read_text(encoding="utf-8")
MARKED = dict(re.findall(r"^<!-- (\w+) -->\n```\w+\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))


def test_the_archive_is_one_without_warnings(tmp_path: Path) -> None:
    spec = parse(json.loads(MARKED["archive"]), ["car_detection.pt"])
    assert warnings_of(spec) == []
    with closing(Outbox(OutboxSettings(), tmp_path / "outbox.sqlite")) as outbox, ExitStack() as named:
        assert set(register_targets(spec, outbox, named)) == {"redis", "mqtt", "kafka"}
    assert len(spec.webhooks) == 1


def test_the_settings_are_settings() -> None:
    [shown] = re.findall(r"```json\n(\{\"outbox\".*?)```", TEXT, re.DOTALL)
    settings = Settings.model_validate(json.loads(shown))
    assert list(settings.outbox.webhook_secret_files) == ["https://backend.example"]


def test_the_figures_are_the_defaults() -> None:
    settings = OutboxSettings()
    assert f"`outbox.broker_timeout_sec`\n({settings.broker_timeout_sec:g} s)" in TEXT
    assert f"`outbox.webhook_timeout_sec` ({settings.webhook_timeout_sec:g} s)" in TEXT
    assert f"tried again after {settings.retry_sec:g} s, doubled up to {settings.retry_max_sec:g} s" in TEXT


def test_the_receiver_takes_what_the_worker_signs_and_drops_repeats(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    module: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(MARKED["receiver"], "docs/sinks.md", "exec"), module)
    module["Receiver"].log_message = lambda *_: None
    server = HTTPServer(("127.0.0.1", 0), module["Receiver"])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    origin = f"http://127.0.0.1:{server.server_port}"
    settings = OutboxSettings.model_validate({"webhook_secrets": {origin: module["SECRET"]}})
    problems: list[str] = []
    try:
        with closing(
            Outbox(settings, tmp_path / "o.sqlite", on_problem=lambda one: problems.append(one.message))
        ) as outbox:
            action = Webhook(type="webhook", url=f"{origin}/cars", message='{"event": "car_seen"}')
            outbox.register(webhook_target(action.url, action.secret, action.signed))
            job = message_job(action, {"session_id": 42}, {})
            for _ in range(2):
                event = OutboxEvent((job,))
                outbox.submit(event)
                assert outbox.flush(event.event_id, 20)
            wrong = Webhook(type="webhook", url=f"{origin}/cars", message="{}", secret="x" * 20)
            outbox.register(webhook_target(wrong.url, wrong.secret, wrong.signed))
            event = OutboxEvent((message_job(wrong, {}, {}),))
            outbox.submit(event)
            assert outbox.flush(event.event_id, 20)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    with suppress(AttributeError):
        del module["Receiver"].log_message
    assert capfd.readouterr().out == "car_seen 42\n"
    assert ["401 Unauthorized" in words for words in problems] == [True]
