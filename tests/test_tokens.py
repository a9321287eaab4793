"""Tokens: from the settings, the environment or a file; one that guards nothing stops the start."""

from pathlib import Path

import pytest

from siwatsystem.config import Settings, load_settings
from siwatsystem.errors import InvalidSetting

SECRET = "a-token-of-some-length"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIWAT_CONFIG", raising=False)


@pytest.mark.parametrize("role", ["control", "view"])
def test_a_token_comes_from_a_file(role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    monkeypatch.setenv(f"SIWAT_{role.upper()}_TOKEN_FILE", str(file))
    found = getattr(load_settings(), f"{role}_token")
    assert found.get_secret_value() == SECRET
    assert SECRET not in repr(load_settings())


def test_a_file_named_in_the_configuration(tmp_path: Path):
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "config.json").write_text('{"control_token_file": "secret"}')
    token = load_settings().control_token
    assert token is not None
    assert token.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "should be 1 to 4096 printable"),
        (b"\n \n", "should be 1 to 4096 printable"),
        (b"two words", "should be 1 to 4096 printable"),
        (b"\xff\xfe\x00", "is not text"),
        (b"x" * 4097, "should be 1 to 4096 printable"),
    ],
)
def test_a_file_that_holds_no_token_stops_the_start(
    content: bytes | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("SIWAT_CONTROL_TOKEN_FILE", str(file))
    with pytest.raises(InvalidSetting) as stopped:
        load_settings()
    assert "control_token" in stopped.value.message
    assert told in stopped.value.message
    assert "two words" not in stopped.value.message


@pytest.mark.parametrize("token", ["", " ", "with blank", "tab\t", "é", "x" * 5000])
def test_a_token_that_opens_everything_or_can_never_be_sent_stops_the_start(
    token: str, monkeypatch: pytest.MonkeyPatch
):
    """An empty variable, as `SIWAT_CONTROL_TOKEN=$UNSET` leaves it, would let an empty login command."""
    monkeypatch.setenv("SIWAT_CONTROL_TOKEN", token)
    with pytest.raises(InvalidSetting) as stopped:
        load_settings()
    assert stopped.value.message.startswith("control_token = ***")
    assert "(from SIWAT_CONTROL_TOKEN)" in stopped.value.message


def test_two_sources_and_one_token_for_both_roles_stop_the_start(tmp_path: Path):
    (tmp_path / "secret").write_text(SECRET)
    with pytest.raises(InvalidSetting, match="both set"):
        Settings.model_validate({"control_token": "other", "control_token_file": tmp_path / "secret"})
    for values in (
        {"control_token": SECRET, "view_token": SECRET},
        {"control_token": SECRET, "view_token_file": tmp_path / "secret"},
    ):
        with pytest.raises(InvalidSetting, match="must differ") as stopped:
            Settings.model_validate(values)
        assert SECRET not in stopped.value.message
