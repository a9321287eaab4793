import json
from pathlib import Path

import pytest

from siwatsystem.analysis.app_config import AppConfig, read_config
from siwatsystem.errors import InvalidSetting

ROOT = Path(__file__).parent.parent.parent
DATA = Path(__file__).parent / "data"
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
    for part in ("[streammux] width, height", "[source0] type, uri", "[primary-gie] config-file"):
        assert part in warning
    assert "interval" not in warning
    assert "batch-size" not in warning


def test_the_batch_counts_where_no_source_does(tmp_path):
    text = "[streammux]\nbatch-size=4\n[siwat]\narchive=a.mpta\nfps=5\n[primary-gie]\ninterval=1"
    config, _ = read_config(written(tmp_path, "app.ini", text))
    assert (config.streams, config.fps, config.every) == (4, 5.0, None)


def deepstream_yolo(folder: Path, more: str = "") -> Path:
    """Files as they come with DeepStream-YOLO, and the section that this app needs."""
    for name in ("deepstream_app_config.txt", "config_infer_primary_yoloV8.txt"):
        (folder / name).write_text((DATA / name).read_text())
    path = folder / "deepstream_app_config.txt"
    path.write_text(path.read_text() + "\n[siwat]\narchive=cars.mpta\n" + more)
    return path


def test_of_a_deepstream_yolo_application_sources_sampling_and_the_detectors_file_are_read(tmp_path):
    path = deepstream_yolo(tmp_path)
    config, (ours, detectors) = read_config(path)
    # Two enabled sources; every second frame decoded, every second of these analysed.
    assert (config.archive, config.streams, config.every) == (tmp_path / "cars.mpta", 2, 4)
    assert (config.fps, config.video, config.tracking) == (None, False, "camera")
    assert "[tracker] tracker-width, tracker-height, gpu-id, ll-lib-file" in ours
    assert "gie-unique-id, nvbuf-memory-type, batch-size" in ours
    assert detectors.partition(": ")[2].startswith("config_infer_primary_yoloV8.txt: [property] gpu-id")
    for key in ("onnx-file", "labelfile-path", "pre-cluster-threshold"):
        assert key in detectors
    assert "secret" not in ours + detectors


def test_the_detectors_own_interval_counts_where_the_application_has_none(tmp_path):
    path = deepstream_yolo(tmp_path)
    path.write_text(path.read_text().replace("interval=1\nconfig-file", "config-file"))
    assert read_config(path)[0].every == 8
    (tmp_path / "config_infer_primary_yoloV8.txt").unlink()
    config, (ours,) = read_config(path)
    assert config.every == 2
    assert "[primary-gie] gpu-id, gie-unique-id, nvbuf-memory-type, config-file, batch-size" in ours


def test_the_example_of_the_documentation_is_read_without_a_warning(tmp_path):
    text = (ROOT / "docs" / "analyze.md").read_text()
    (example,) = [part.partition("```")[0] for part in text.split("```ini\n")[1:]]
    config, warnings = read_config(written(tmp_path, "app.txt", example))
    assert (config.archive, config.streams, config.every) == (tmp_path / "cars.mpta", 4, 3)
    assert (config.tracking, config.video, warnings) == ("file", True, [])


def test_every_key_is_in_the_documentation():
    text = (ROOT / "docs" / "analyze.md").read_text()
    assert [name for name in AppConfig.model_fields if f"`{name}`" not in text] == []
