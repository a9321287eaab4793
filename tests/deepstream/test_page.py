"""What serves the control server's page: no token for what is the same for everybody, a strict policy, and
nothing that is not there."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from siwatsystem.config import Settings
from siwatsystem.deepstream.application import create_app
from siwatsystem.deepstream.routes.page import FOLDER
from siwatsystem.web.browsers import OWN_FILES
from siwatsystem.web.static import SHARED, TYPES

MODULES = sorted(FOLDER.glob("*.js"))


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    values = {"data_dir": tmp_path, "control_token": "command-0123456789", "view_token": "look-0123456789"}
    return TestClient(create_app(Settings.model_validate(values)))


def test_the_page_needs_no_token_and_what_it_asks_for_does(client: TestClient):
    page = client.get("/deepstream/ui")
    assert (page.status_code, page.headers["content-security-policy"]) == (200, OWN_FILES)
    assert "unsafe" not in OWN_FILES
    named = re.findall(r'(?:src|href)="(assets/[^"]+)"', page.text)
    assert len(named) >= 5
    for path in named:
        assert client.get(f"/deepstream/{path}").status_code == 200, path
    for path in ("instances", "requests", "events", "metrics", "processes"):
        assert client.get(f"/deepstream/{path}").status_code == 401, path
    assert client.post("/deepstream/launch", json={"config_path": "/x"}).status_code == 401


def test_who_asks_for_the_server_alone_is_led_to_the_page(client: TestClient):
    answer = client.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "deepstream/ui")


def test_the_page_has_nothing_that_its_policy_forbids():
    text = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"\son\w+=|\sstyle=|javascript:|https?://|<style|<script>", text)
    assert all(tag.endswith("></script>") for tag in re.findall(r"<script.*", text))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_takes_only_what_is_served_and_makes_no_markup_of_text(module: Path):
    text = module.read_text(encoding="utf-8")
    for name in re.findall(r'from "\./([^"]+)"', text):
        assert (FOLDER / name).is_file() or (SHARED / name).is_file(), name
    assert not re.search(r'innerHTML|dangerously|\beval\(|new Function|from "(?!\./)|https?://', text)


def test_everything_in_the_folder_is_served_or_the_page_itself(client: TestClient):
    for path in FOLDER.iterdir():
        assert path.suffix in TYPES or path.name == "index.html", path.name
