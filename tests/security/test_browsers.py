"""What answers tell a browser."""

import base64
import hashlib
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from siwatsystem.app import create_app
from siwatsystem.commands.access_page import doors
from siwatsystem.config import Settings
from siwatsystem.routes.dashboard import PAGE
from siwatsystem.web.browsers import policy_of


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
    policy = client.get("/").headers["content-security-policy"]
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", client.get("/").text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_the_page_has_nothing_that_its_policy_forbids():
    text = PAGE.read_text(encoding="utf-8")
    assert not re.findall(r"\son\w+=|\sstyle=|javascript:|<script [^>]*>|https?://", text)
    assert policy_of("<p>no script</p>").count("'none'") >= 4
