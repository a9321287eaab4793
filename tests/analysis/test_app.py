"""The app as a whole, where it does not get as far as analysing anything."""

import asyncio
from pathlib import Path

import pytest

from siwatsystem.analysis import app as module
from siwatsystem.analysis.app import FAILED, App, Identity
from siwatsystem.analysis.app_config import AppConfig
from siwatsystem.analysis.slot import Work
from siwatsystem.config import Settings
from siwatsystem.errors import InvalidSetting
from tests.analysis.scripted_server import ScriptedServer


def test_a_pipeline_that_cannot_be_loaded_is_no_good_end_however_late_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    server = ScriptedServer()

    def unable(_: App) -> Work:
        server.wait("app_ready", timeout=20)
        raise InvalidSetting(f"{tmp_path}/x.mpta: it is none")

    monkeypatch.setattr(module, "LOADING_SEC", 0.01)
    monkeypatch.setattr(App, "_open", unable)
    identity = Identity(server.url, None, "gate", "/configs/gate.json", 1, None)
    app = App(identity, AppConfig(archive=tmp_path / "x.mpta"), Settings(data_dir=tmp_path))
    try:
        assert asyncio.run(app.run()) == FAILED
    finally:
        server.stop()
    assert server.all("app_terminated") == []
    assert f"{tmp_path}/x.mpta cannot be used: it is none" in caplog.messages
