"""What a file says of itself comes from strangers: it is read, or it is invalid, and nothing else.

`EXAMPLES=100000` in the environment makes the short run a long one.
"""

import contextlib
import json
import os
import string
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.runtime import engine_header, metadata
from siwatsystem.runtime.metadata import Metadata, from_json, from_ultralytics, read_beside
from siwatsystem.runtime.onnx import read_metadata
from siwatsystem.runtime.onnx_encoder import recipe

EXAMPLES = settings(
    max_examples=int(os.environ.get("EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
GOOD: dict[str, Any] = {"task": "detect", "names": {0: "Car"}, "imgsz": [640, 640], "stride": 32, "args": {}}
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -1, 0, 2**63, True])
PLAIN = st.none() | st.booleans() | NUMBERS | st.text(max_size=20)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
SPELT = st.sampled_from(
    [
        "{0: 'a'}",
        "{[]: 1}",
        "1e999",
        "[640, 640]",
        "(" * 500,
        "-" * 9000 + "1",
        "{1e999: 'a'}",
        "1+" * 5000 + "1",
        "'\\d'",
    ]
)
KEYS = st.sampled_from(
    ["task", "names", "imgsz", "stride", "end2end", "channels", "args", "mean", "std", "batch"]
)


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{two}: &{two} [*{one}, *{one}]\n" for one, two in pairwise(string.ascii_lowercase)
)
LAUGHS += "".join(f"{key}: [*z, *z]\n" for key in ("task", "names", "imgsz"))
"""Some kilobytes as they stand, gigabytes if anybody wrote them out."""


def given_values() -> st.SearchStrategy[dict[str, Any]]:
    """Honest metadata with some of its values replaced."""
    return st.dictionaries(KEYS, VALUES | SPELT, max_size=4).map(lambda wrong: GOOD | wrong)


HEADERS = st.binary(max_size=60) | given_values().map(lambda values: json.dumps(values).encode())


def read_or_invalid(read: Any, *arguments: Any) -> None:
    with contextlib.suppress(ModelInvalid, ModelRefused):
        assert read(*arguments) is not None


@EXAMPLES
@given(given_values(), st.booleans())
def test_what_exporters_write(values: dict[str, Any], dynamic: bool):
    read_or_invalid(from_ultralytics, values, dynamic)


@EXAMPLES
@given(given_values() | VALUES)
def test_our_own_json(values: Any):
    whole = json.loads(Metadata("detect", {0: "Car"}, (640, 640)).to_json())
    text = json.dumps((whole | values) if isinstance(values, dict) else values)
    read_or_invalid(from_json, text)
    read_or_invalid(from_json, text[: len(text) // 2])


@EXAMPLES
@given(HEADERS, st.integers(0, 2**32 - 1))
def test_an_engines_header(tmp_path: Path, text: bytes, length: int):
    path = tmp_path / "model.engine"
    for claimed in (length, len(text)):
        path.write_bytes(claimed.to_bytes(4, "little") + text + b"engine")
        read_or_invalid(engine_header.read_metadata, path)


@EXAMPLES
@given(given_values().map(json.dumps) | st.text(max_size=60) | SPELT)
def test_what_lies_beside_an_openvino_model(tmp_path: Path, text: str):
    (tmp_path / "metadata.yaml").write_text(text, encoding="utf-8", errors="replace")

    def read() -> Metadata:
        found = read_beside(tmp_path / "model.xml")
        assert isinstance(found, dict)
        return from_ultralytics(found, dynamic=False)

    read_or_invalid(read)


@EXAMPLES
@given(st.dictionaries(KEYS, st.text(max_size=20) | SPELT | VALUES.map(str), max_size=4), st.integers(0, 300))
def test_an_onnx(tmp_path: Path, values: dict[str, str], cut: int):
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 64, 64])
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, 4])
    nodes = [helper.make_node("Identity", ["picture"], ["answer"])]
    model = helper.make_model(helper.make_graph(nodes, "tiny", [picture], [answer]))
    honest = {"task": "classify", "names": "{0: 'a', 1: 'b', 2: 'c', 3: 'd'}", "imgsz": "[64, 64]"}
    for key, value in (honest | values).items():
        model.metadata_props.add(key=key, value=value.encode("utf-8", "replace").decode())
    data = model.SerializeToString()
    path = tmp_path / "model.onnx"
    for text in (data, data[: max(0, len(data) - cut)]):
        path.write_bytes(text)
        read_or_invalid(read_metadata, path)
        read_or_invalid(recipe, path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a": ' * 50_000,
        "a: &a [x,x]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)},*{chr(97 + i)}]\n" for i in range(24))
        + "task: *y\nnames: *y\nimgsz: *y\n",
        "when: 2001-99-99",
        "? [a]\n: b",
        "!!python/object/apply:os.system ['true']",
        "\x00",
        "x" * (5 << 20),
    ],
    ids=["deep", "deep mapping", "laughs", "date", "unhashable", "tag", "null", "long"],
)
def test_known_attacks_on_parsers(tmp_path: Path, text: str):
    (tmp_path / "metadata.yaml").write_text(text)
    with pytest.raises(ModelInvalid) as told:
        from_ultralytics(read_beside(tmp_path / "model.xml"), False)  # type: ignore[arg-type]
    assert len(told.value.message) < 1000
    engine = tmp_path / "model.engine"
    engine.write_bytes(len(text).to_bytes(4, "little") + text.encode())
    with pytest.raises(ModelInvalid):
        engine_header.read_metadata(engine)


@pytest.mark.parametrize(
    "wrong", [{"stride": 0}, {"stride": 10**9}, {"std": [1, 0, 1]}, {"mean": ["a", 1, 1]}]
)
def test_numbers_that_nothing_can_be_computed_with(wrong: dict[str, Any]):
    values = json.loads(Metadata("detect", {0: "Car"}, (640, 640)).to_json()) | wrong
    with pytest.raises(ModelInvalid):
        metadata.from_json(json.dumps(values))
