import json
from pathlib import Path

import pytest

from siwatsystem.analysis.app_config import read_config
from siwatsystem.errors import InvalidSetting

INI = """
[application]
enable-perf-measurement=1
[source0]
enable=1
type=3
uri=file:///videos/a.mp4
num-sources=3
drop-frame-interval=2
[source1]
enable=0
num-sources=5
[streammux]
batch-size=8
width=1920
height=1080
[primary-gie]
enable=1
interval=4
config-file=pgie.txt
# a comment
[siwat]
archive=demo.mpta
classes=Car;Frontal;
video=true
"""


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_toml_and_json_say_the_same(tmp_path):
    toml = read_config(written(tmp_path, "a.toml", 'archive = "demo.mpta"\nevery = 3\nvideo = true\n'))
    other = read_config(
        written(tmp_path, "a.json", json.dumps({"archive": "demo.mpta", "every": 3, "video": True}))
    )
    assert toml == other
    config, warnings = toml
    assert (config.archive, config.every, config.video) == (tmp_path / "demo.mpta", 3, True)
    assert (config.precision, config.actions, config.tracking, warnings) == ("exact", "none", "camera", [])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.toml", 'archive = "a.mpta"\nevrey = 3', "evrey"),
        ("a.toml", "every = 3", "archive"),
        ("a.toml", 'archive = "a.mpta"\nevery = 0', "every"),
        ("a.toml", 'archive = "a.mpta"\nevery = 2\nfps = 5.0', "exclude each other"),
        ("a.toml", "archive = ", "Invalid value"),
        ("a.json", "[]", "a.json"),
        ("a.json", "{", "a.json"),
        ("a.txt", "[siwat]\narchive=a.mpta\nunknown=1", "unknown"),
        ("a.txt", "[streammux]\nbatch-size=1", "archive"),
        ("a.txt", "[streammux]\nbatch-size=many\n[siwat]\narchive=a", "[streammux] batch-size"),
        ("a.txt", "no section", "a.txt"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, name, text, told):
    path = written(tmp_path, name, text)
    with pytest.raises(InvalidSetting) as error:
        read_config(path)
    assert str(path) in error.value.message
    assert told in error.value.message


def test_a_config_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(InvalidSetting, match="cannot be read"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidSetting, match="not text"):
        read_config(tmp_path / "b.toml")


def test_of_a_deepstream_ini_what_means_the_same_is_read_and_the_rest_named_once(tmp_path):
    config, warnings = read_config(written(tmp_path, "app.txt", INI))
    assert config.archive == tmp_path / "demo.mpta"
    assert config.classes == ("Car", "Frontal")
    assert config.video
    # Every second frame decoded, four of five of these left out; the enabled source stands for three.
    assert (config.every, config.streams) == (10, 3)
    (warning,) = warnings
    for key in ("[streammux] width", "[streammux] height", "[source0] uri", "[primary-gie] config-file"):
        assert key in warning
    assert "interval" not in warning
    assert "batch-size" not in warning


def test_the_batch_counts_where_no_source_does(tmp_path):
    text = "[streammux]\nbatch-size=4\n[siwat]\narchive=a.mpta\nfps=5\n[primary-gie]\ninterval=1"
    config, _ = read_config(written(tmp_path, "app.ini", text))
    assert (config.streams, config.fps, config.every) == (4, 5.0, None)
