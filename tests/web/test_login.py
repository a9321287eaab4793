"""Browsers log in once; the cookie they get opens what the token would, and no page of others can use it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from siwatsystem.app import create_app
from siwatsystem.config import Settings
from siwatsystem.web.access import COOKIE

TOKENS = {"control": "command", "view": "look"}
OTHER = {"Origin": "http://evil.example"}
OURS = {"Origin": "http://testserver"}


def settings(folder: Path, **values: object) -> Settings:
    return Settings.model_validate({"data_dir": folder, "logs": {"file": None}, **values})


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[TestClient]:
    guarded = settings(tmp_path, control_token="command", view_token="look")
    with TestClient(create_app(guarded)) as client:
        yield client


def login(browser: TestClient, token: str, headers: dict[str, str] = OURS) -> int:
    return browser.post("/login", json={"token": token}, headers=headers).status_code


@pytest.mark.parametrize("role", TOKENS)
def test_a_token_is_traded_for_a_cookie_that_opens_the_same(browser: TestClient, role: str):
    assert browser.get("/api/cameras").status_code == 401
    answer = browser.post("/login", json={"token": TOKENS[role]}, headers=OURS)
    assert answer.json() == {"role": role}
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKENS[role] not in cookie
    assert browser.get("/api/cameras").status_code == 200
    assert browser.get("/metrics").status_code == 200


def test_a_wrong_token_opens_nothing(browser: TestClient):
    for token in ("", "wrong", "command ", "x" * 4096):
        assert login(browser, token) == 401
    assert login(browser, "x" * 5000) == 422
    assert COOKIE not in browser.cookies
    assert browser.get("/metrics").status_code == 401


def test_a_page_of_another_site_can_neither_log_in_nor_use_the_login(browser: TestClient):
    assert login(browser, "command", OTHER) == 403
    assert login(browser, "command") == 200
    assert browser.post("/logout", headers=OTHER).status_code == 204
    assert browser.get("/metrics").status_code == 200, "a page of others could end the login"


def test_logging_out_ends_the_login_itself_not_only_the_cookie(browser: TestClient):
    assert login(browser, "look") == 200
    name = browser.cookies[COOKIE]
    assert browser.post("/logout", headers=OURS).status_code == 204
    browser.cookies.clear()
    browser.cookies.set(COOKIE, name)
    assert browser.get("/metrics").status_code == 401


def test_an_invented_cookie_opens_nothing(browser: TestClient):
    for name in ("", "command", "x" * 3000):
        browser.cookies.clear()
        browser.cookies.set(COOKIE, name)
        assert browser.get("/metrics").status_code == 401


def test_where_no_token_is_set_nobody_needs_to_log_in(tmp_path: Path):
    with TestClient(create_app(settings(tmp_path))) as open_worker:
        assert login(open_worker, "anything") == 401
        assert open_worker.get("/metrics").status_code == 200
