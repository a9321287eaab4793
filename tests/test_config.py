import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from siwatsystem.commands.documents import pipeline_schema, settings_page
from siwatsystem.config import Settings, load_settings
from siwatsystem.errors import InvalidSetting

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIWAT_CONFIG", raising=False)


def write(path: Path, values: object) -> Path:
    path.write_text(json.dumps(values))
    return path


def test_shipped_config_has_the_values_of_the_contract():
    settings = load_settings(ROOT / "config.json")
    assert settings.poll_interval_ms == 100
    assert settings.max_streams == 999
    assert settings.target_fps == 2
    assert settings.reconnect_interval_sec == 5
    assert settings.max_retries == -1
    assert settings.analysis_interval_sec == 0.5


def test_missing_keys_fall_back():
    settings = load_settings()
    assert (settings.poll_interval_ms, settings.max_streams) == (100, 5)
    assert settings.analysis_interval_sec == pytest.approx(1 / 10)
    assert (settings.reconnect_interval_sec, settings.max_retries) == (5, 3)


def test_poll_interval_counts_only_without_target_fps(tmp_path: Path):
    assert load_settings(write(tmp_path / "a", {"poll_interval_ms": 250})).analysis_interval_sec == 0.25
    both = write(tmp_path / "b", {"poll_interval_ms": 250, "target_fps": 4})
    assert load_settings(both).analysis_interval_sec == 0.25
    both = write(tmp_path / "c", {"poll_interval_ms": 100, "target_fps": 4})
    assert load_settings(both).analysis_interval_sec == 0.25


def test_the_environment_wins_and_reaches_sections(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    write(tmp_path / "config.json", {"target_fps": 2, "streams": {"reconnect_max_sec": 3}})
    monkeypatch.setenv("SIWAT_TARGET_FPS", "7")
    monkeypatch.setenv("SIWAT_CONTROL__PORT", "18001")
    monkeypatch.setenv("SIWAT_STREAMS__READ_TIMEOUT_SEC", "9")
    settings = load_settings()
    assert settings.target_fps == 7
    assert settings.control.port == 18001
    assert settings.streams.read_timeout_sec == 9
    assert settings.streams.reconnect_max_sec == 3


def test_another_file_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("SIWAT_CONFIG", str(write(tmp_path / "other.json", {"max_streams": 3})))
    assert load_settings().max_streams == 3
    monkeypatch.setenv("SIWAT_CONFIG", str(tmp_path / "none.json"))
    with pytest.raises(InvalidSetting, match=r"none\.json: cannot be read"):
        load_settings()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"target_fps": "fast"}, r"target_fps = 'fast': .*number"),
        ({"target_fps": 0}, r"target_fps = 0: .*greater than 0"),
        ({"max_streams": 1.5}, r"max_streams = 1\.5: .*integer"),
        ({"max_retries": -2}, r"max_retries = -2: .*greater than or equal to -1"),
        ({"port": 70000}, r"port = 70000"),
        ({"streams": {"read_timeout_sec": 0}}, r"streams\.read_timeout_sec = 0"),
        ({"runtime": {"precision": "sloppy"}}, r"runtime\.precision = 'sloppy': .*'auto', 'exact' or 'fast'"),
        ({"streams": {"networks": ["10.0.0.0/33"]}}, r"streams\.networks\.0 = '10\.0\.0\.0/33': .*network"),
        ({"streams": {"networks": ["::/0", "lan"]}}, r"streams\.networks\.1 = 'lan': .*192\.168\.0\.0/16"),
        ({"streams": {"schemes": ["rtsp", "ftp"]}}, r"streams\.schemes\.1 = 'ftp': .*'rtsps'.*'webcam'"),
        ({"tagret_fps": 3}, r"tagret_fps: no such setting"),
        ([1], r"must hold a JSON object, not list"),
    ],
)
def test_a_bad_value_is_one_line_with_key_value_and_what_is_allowed(
    tmp_path: Path, values: object, expected: str
):
    with pytest.raises(InvalidSetting, match=expected) as caught:
        load_settings(write(tmp_path / "config.json", values))
    assert "\n" not in str(caught.value)


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SIWAT_PORT", "eight")
    with pytest.raises(InvalidSetting, match=r"port = 'eight' \(from SIWAT_PORT\)"):
        load_settings()


def test_a_list_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SIWAT_STREAMS__NETWORKS", "nonsense")
    with pytest.raises(InvalidSetting, match="SIWAT_STREAMS__NETWORKS: not JSON; a list is written as"):
        load_settings()


def test_a_token_is_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(InvalidSetting) as caught:
        load_settings(write(tmp_path / "config.json", {"control_token": 12345}))
    assert "12345" not in str(caught.value)


def test_broken_json_names_the_file(tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(InvalidSetting, match=r"config\.json: not JSON"):
        load_settings(path)


def test_the_page_of_settings_is_up_to_date():
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_page()


def test_the_schema_of_pipelines_is_up_to_date_and_takes_the_demo():
    text = (ROOT / "docs" / "pipeline.schema.json").read_text(encoding="utf-8")
    assert text == pipeline_schema()
    schema = Draft202012Validator(json.loads(text))
    demo = json.loads((ROOT / "demo" / "pipeline.json").read_text(encoding="utf-8"))
    schema.validate(demo)
    demo["pipeline"]["branches"][0]["minConfidence"] = "high"
    assert not schema.is_valid(demo)


def test_every_setting_is_described():
    rows = [line for line in settings_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert [row for row in rows if row.rstrip().endswith("|  |")] == []
    assert Settings.model_fields


@pytest.mark.parametrize(
    "name", ["SIWAT_DECODE", "SIWAT_TARGETFPS", "SIWAT_STREAM__DECODE", "siwat_precision"]
)
def test_a_variable_that_names_no_setting_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, "3")
    with pytest.raises(InvalidSetting, match=f"{name}: no such setting"):
        load_settings()
