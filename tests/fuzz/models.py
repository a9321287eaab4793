"""What a model's file says of itself: ours, ultralytics' and an engine's, made wrong."""

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from siwatsystem.errors import ModelError
from siwatsystem.runtime import engine_header, onnx, onnx_encoder, openvino_files
from siwatsystem.runtime.metadata import Metadata, from_json
from tests.fuzz import mutation
from tests.fuzz.target import Input, Target, sendable

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
THEIRS: dict[str, Any] = {
    "task": "classify",
    "names": {0: "Aster", 1: "Borel"},
    "imgsz": [64, 64],
    "stride": 32,
    "batch": 1,
    "end2end": False,
    "channels": 3,
    "args": {"dynamic": True},
}
OURS: dict[str, Any] = json.loads(Metadata("detect", {0: "Car", 1: "Plate"}, (320, 640)).to_json())
TWO = {"mean": [0.5, 0.5, 0.5], "std": [1, 1, 1]}
SPELT = (
    "{[]: 1}",
    "1e999",
    "{1e999: 'a'}",
    "[640, 640]",
    "(" * 500,
    "-" * 9000 + "1",
    "1+" * 5000 + "1",
    "[" * 300,
    "2001-99-99",
    "&a [*a]",
    "!!python/name:os.system",
    "!!binary =",
    "0x",
    "'\\d'",
)


def _values(random: Random, values: dict[str, Any]) -> dict[str, Any]:
    made = mutation.changed(random, values)
    if not isinstance(made, dict):
        return values
    if random.randrange(6) == 0:
        made[random.choice(list(values))] = random.choice(SPELT)
    return made


def make_json(random: Random) -> Input:
    text = mutation.dumped(random, _values(random, OURS | random.choice(({}, TWO))))
    return text.encode("utf-8", "surrogatepass")


def make_yaml(random: Random) -> Input:
    """As the exporter writes it, a line for each, or JSON, which is YAML too."""
    values = _values(random, THEIRS)
    if random.randrange(3) == 0:
        return mutation.dumped(random, values).encode("utf-8", "surrogatepass")
    text = "".join(
        f"{key}: {value if random.randrange(2) else json.dumps(value)}\n" for key, value in values.items()
    )
    return (text if random.randrange(4) else mutation.torn(random, text)).encode("utf-8", "surrogatepass")


def make_engine(random: Random) -> Input:
    text = mutation.dumped(random, _values(random, THEIRS)).encode("utf-8", "surrogatepass")
    length = len(text) if random.randrange(6) else random.choice((0, 1, len(text) - 1, 2**20 + 1, 2**32 - 1))
    return max(length, 0).to_bytes(4, "little") + text + b"engine"


def make_onnx(random: Random) -> Input:
    """A network of one node, with metadata that may say anything; sometimes broken bytes."""
    from onnx import StringStringEntryProto

    data = _network()
    values = {key: str(value) for key, value in _values(random, THEIRS).items()}
    for key, value in values.items():
        entry = StringStringEntryProto(
            key=key.encode("utf-8", "replace").decode(), value=value.encode("utf-8", "replace").decode()
        ).SerializeToString()
        # Field 14 of a model, `metadata_props`; fields may be appended.
        data += b"\x72" + _varint(len(entry)) + entry
    return mutation.damaged(random, data) if random.randrange(3) == 0 else data


@cache
def _network() -> bytes:
    from onnx import TensorProto, helper

    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 64, 64])
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, 2])
    nodes = [helper.make_node("Identity", ["picture"], ["answer"])]
    return helper.make_model(helper.make_graph(nodes, "tiny", [picture], [answer])).SerializeToString()


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def _read(read: Callable[[], object]) -> bool:
    """Whether it is taken; an error that is no ModelError goes on."""
    try:
        read()
    except ModelError as error:
        sendable(error.message)
        return False
    return True


def check_json(data: Input) -> bool:
    """Metadata that `to_json` writes and is read again as the same, or ModelError."""
    assert isinstance(data, bytes)

    def read() -> None:
        found = from_json(data.decode("utf-8", "replace"))
        assert from_json(found.to_json()) == found

    return _read(read)


def _check_file(name: str, read: Callable[[Path], object]) -> Callable[[Input], bool]:
    def check(data: Input) -> bool:
        assert isinstance(data, bytes)
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            return _read(lambda: read(path))

    return check


def _read_yaml(path: Path) -> object:
    (path.parent / "model.xml").touch()
    (path.parent / "model.bin").touch()
    return openvino_files.find(path.parent)


def _read_onnx(path: Path) -> object:
    try:
        onnx_encoder.recipe(path)
    except ModelError as error:
        sendable(error.message)
    return onnx.read_metadata(path)


TARGETS = (
    Target("metadata", make_json, check_json),
    Target("openvino_metadata", make_yaml, _check_file("metadata.yaml", _read_yaml)),
    Target("engine_headers", make_engine, _check_file("model.engine", engine_header.read_metadata)),
    Target("onnx_metadata", make_onnx, _check_file("model.onnx", _read_onnx)),
)
