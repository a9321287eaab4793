"""What answers tell a browser."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from siwatsystem.app import create_app
from siwatsystem.commands.access_page import doors
from siwatsystem.config import Settings
from siwatsystem.routes.dashboard import FOLDER, PAGE
from siwatsystem.web.browsers import OWN_FILES


@pytest.fixture
def client(tmp_path: Path):
    app = create_app(Settings.model_validate({"data_dir": tmp_path, "logs": {"file": None}}))
    with TestClient(app) as found:
        yield found


def test_every_answer_forbids_guessing_its_type_and_naming_us_elsewhere(client: TestClient):
    paths = {door.path.replace("…", "swagger-ui.css") for door in doors(client.app) if door.method == "GET"}
    for path in [*paths, "/no/such/page", "/camera/a;b/image"]:
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "no-referrer", path
        if not path.startswith("/static-offline-docs/"):
            assert headers["cache-control"] in ("no-store", "no-cache"), path


def test_refusals_have_them_too():
    app = create_app(Settings.model_validate({"control_token": "command-0123456789"}))
    headers = TestClient(app).get("/metrics").headers
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


def test_pages_stand_in_no_frame_and_run_no_script_but_their_own(client: TestClient):
    for path in ("/", "/docs", "/docs/oauth2-redirect"):
        policy = client.get(path).headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy, path
        assert "default-src 'none'" in policy or "default-src 'self'" in policy
    assert client.get("/").headers["content-security-policy"] == OWN_FILES
    assert "unsafe" not in OWN_FILES


def test_the_dashboard_has_nothing_that_its_policy_forbids():
    text = PAGE.read_text(encoding="utf-8")
    assert not re.findall(r"<style|<script>|\son\w+=|\sstyle=|javascript:|https?://", text)
    for path in FOLDER.glob("*.js"):
        script = path.read_text(encoding="utf-8")
        # Text reaches the page as text, and nothing makes code of it.
        assert not re.findall(
            r"innerHTML|outerHTML|insertAdjacent|dangerously|document\.write|\beval\b", script
        )
        assert not re.findall(r"new Function|setTimeout\(\s*[\"'`]", script), path.name
