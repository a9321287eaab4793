"""`siwat mpta inspect` on the demo's archive and on one whose models cannot be loaded."""

import hashlib
import json
from pathlib import Path

from siwatsystem.packing import pack
from siwatsystem.signatures import sign
from siwatsystem.signing_keys import PrivateKey
from tests.commands.archives import DEMO, rewrite, run, unpacked


def test_the_demo_is_shown_with_all_that_it_will_write() -> None:
    done = run("inspect", DEMO)
    assert (done.exit_code, done.stderr) == (0, "")
    for words in (
        f"sha256 {hashlib.sha256(DEMO.read_bytes()).hexdigest()}",
        "unsigned",
        "server: embedded redis",
        "detect 320×320",
        "classes: Aster, Borel, Corvano, Dynex, Eldra",
        "saves an image under inference:{display_id}:{timestamp}:{session_id}:{filename}",
        "publishes on car_detections",
        "makes a record in gas_station_1.car_frontal_info",
        "car_brand = {car_brand_classification.brand}",
        "after car_brand_classification, car_bodytype_classification",
        "on the crop of Frontal stretched to 96×96, when Frontal is there from 0.5",
    ):
        assert words in done.stdout


def test_the_json_has_the_same_with_whole_digests() -> None:
    shown = json.loads(run("inspect", DEMO, "--json").stdout)
    root = shown["root"]
    assert (shown["size"], shown["problems"], shown["others"]) == (DEMO.stat().st_size, [], [])
    assert [write["kind"] for write in root["writes"]] == [
        "initial_record",
        "redis_save_image",
        "redis_publish",
        "postgresql_update_combined",
    ]
    assert [branch["model"]["task"] for branch in root["branches"]] == ["classify", "classify"]
    assert len(root["model"]["sha256"]) == 64
    assert root["model"]["input_size"] == [320, 320]


def test_brokers_and_receivers_are_shown_without_what_is_secret(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "cars")
    data = json.loads((folder / "pipeline.json").read_text())
    login = {"username": "u", "password": "zqSecret"}
    data["mqtt"] = {"host": "broker.example", **login}
    data["kafka"] = {"bootstrap_servers": "one.example:9092,two.example:9092", **login}
    data["pipeline"]["actions"] = [
        {"type": "mqtt_publish", "topic": "cars", "message": "of-mqtt", "retain": True},
        {"type": "kafka_publish", "topic": "cars-2", "message": "of-kafka", "key": "{id}"},
        {
            "type": "webhook",
            "url": "https://hooks.example/zqSecret",
            "secret": "zqSecret-zqSecret",
            "message": "m",
        },
    ]
    (folder / "pipeline.json").write_text(json.dumps(data))
    for more in ([], ["--json"]):
        shown = run("inspect", folder, *more)
        assert shown.exit_code == 0
        assert "zqSecret" not in shown.stdout
    words = run("inspect", folder).stdout
    for part in (
        "server: mqtt at broker.example:1883",
        "server: kafka at one.example:9092,two.example:9092",
        "publishes over MQTT on cars",
        "kept for later subscribers: of-mqtt",
        "sends to the Kafka topic cars-2",
        "by the key {id}: of-kafka",
        "posts to hooks.example:443",
    ):
        assert part in words


def test_what_cannot_be_loaded_is_shown_as_such_and_no_password(tmp_path: Path) -> None:
    zone = [[0.1, 0.4], [0.9, 0.4], [0.9, 1.0]]
    folder = rewrite(unpacked(tmp_path / "cars"), tracking={"zone": zone, "stabilityThreshold": 3})
    data = json.loads((folder / "pipeline.json").read_text())
    data["redis"] = {"host": "10.0.0.5", "port": 6379, "password": "geheim"}
    data["postgresql"] = {
        "host": "h", "port": 1, "database": "station", "username": "me", "password": "geheim", "schema": "s2"
    }  # fmt: skip
    (folder / "pipeline.json").write_text(json.dumps(data))
    (folder / "car_brand_classification.pt").write_bytes(b"junk")
    (folder / "tests").mkdir()
    (folder / "tests" / "one.jpg").write_bytes(b"x")
    (folder / "notes.md").write_text("x")
    (folder / ".env").write_text("x")
    done = run("inspect", folder)
    assert done.exit_code == 1
    for words in (
        "server: redis at 10.0.0.5:6379, database 0",
        "server: postgresql at h:1, database station as me",
        "cannot be loaded: car_brand_classification.pt is no checkpoint",
        "classes: Hatchback, Pickup, SUV, Sedan",
        "tracking: bytetrack, zone of 3 corners in fractions, stable after 3 frames, acts once per id",
        "writes the record of s2.car_frontal_info",
        "tests/one.jpg  1 bytes\n",
        "notes.md  1 bytes  (stays in the archive)",
        "not packed: .env",
        "mistake: pipeline.branches[0].modelFile",
    ):
        assert words in done.stdout
    assert "geheim" not in done.stdout + run("inspect", folder, "--json").stdout


def test_a_wrong_pipeline_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    folder = rewrite(unpacked(tmp_path / "cars"), minConfidence=7)
    done = run("inspect", folder)
    assert done.exit_code == 1
    assert "car_frontal_detection.pt  5.5 MB" in done.stdout
    assert "mistake: pipeline.minConfidence" in done.stdout


def test_who_signed_is_shown_and_a_signature_over_other_bytes_is_a_mistake(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "cars")
    key = PrivateKey.new()
    names = sorted(path.name for path in folder.iterdir())
    sign(folder, names, key)
    packed = pack(folder, tmp_path / "cars.mpta")
    done = run("inspect", packed)
    assert done.exit_code == 0
    assert f"signed by {key.public.fingerprint}" in done.stdout
    rewrite(folder, minConfidence=0.6)
    done = run("validate", pack(folder, tmp_path / "changed.mpta"))
    assert done.exit_code == 1
    assert "signature does not hold: 'pipeline.json' was changed after signing" in done.stdout
