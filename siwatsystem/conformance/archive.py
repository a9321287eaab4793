"""Archives for checks: a detector that finds the test picture and a classifier that reads its number.

Both networks are written by hand, a few kilobytes each, with the metadata of ultralytics' exports; what they
say follows from the picture alone, on every runtime.
"""

import io
import json
import zipfile
from typing import Any

import numpy as np

from siwatsystem.conformance.pattern import BOX, COLUMNS, NUMBERS, ROWS, SIZE

CLASS = "Car"
ATTRIBUTE = "carBrand"
"""The key in `imageDetection` under which the number comes."""
CONFIDENCE = 0.9
_ANCHORS = 8
_NUMBER_SIZE = 64
_TIME = (1980, 1, 1, 0, 0, 0)
_OPSET, _IR = 17, 8


def brand_of(number: int) -> str:
    """What the classifier calls a number."""
    return f"n{number % NUMBERS:03d}"


def number_of_brand(text: object) -> int | None:
    """The number that `brand_of` named; None where it is no such name."""
    if not isinstance(text, str) or not text.startswith("n") or not text[1:].isdecimal():
        return None
    return int(text[1:])


def make(effort: int = 0) -> bytes:
    """The archive; `effort`: how many products of 320 × 320 matrices its detector does for nothing."""
    branch = {
        "modelId": "check_brand",
        "modelFile": "brand.onnx",
        "minConfidence": 0.5,
        "triggerClasses": [CLASS],
        "crop": True,
        "cropClass": CLASS,
    }
    root = {
        "modelId": "check_detection",
        "modelFile": "detection.onnx",
        "minConfidence": 0.5,
        "triggerClasses": [CLASS],
        "branches": [branch],
    }
    files = {
        "pipeline.json": json.dumps({"pipeline": root}, indent=1).encode(),
        "detection.onnx": _detector(effort),
        "brand.onnx": _classifier(),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in files.items():
            target.writestr(zipfile.ZipInfo(f"check/{name}", _TIME), data)
    return packed.getvalue()


def _detector(effort: int) -> bytes:
    """1×3×320×320 → 1×6×8: one box, where the middle of its left edge is orange."""
    from onnx import TensorProto, helper

    x1, y1, x2, y2 = BOX
    boxes = np.zeros((1, 6, _ANCHORS), np.float32)
    boxes[0, :4, 0] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
    score = np.zeros((1, 6, _ANCHORS), np.float32)
    score[0, 4, 0] = CONFIDENCE
    constants = {
        "starts": np.array([148, 0], np.int64),
        "ends": np.array([172, 24], np.int64),
        "axes": np.array([2, 3], np.int64),
        "red_less_blue": np.array([1, 0, -1], np.float32).reshape(1, 3, 1, 1),
        "least": np.array(0.2, np.float32),
        "steep": np.array(10, np.float32),
        "none": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "nothing": np.array(1e-12, np.float32),
        "small": np.array(0.01, np.float32),
        "channel": np.array([1], np.int64),
        "boxes": boxes,
        "score": score,
    }
    nodes = [
        helper.make_node("Slice", ["images", "starts", "ends", "axes"], ["edge"]),
        helper.make_node("Mul", ["edge", "red_less_blue"], ["differences"]),
        helper.make_node("ReduceMean", ["differences"], ["mean"], axes=[2, 3], keepdims=1),
        helper.make_node("ReduceSum", ["mean", "channel"], ["orange"], keepdims=1),
        helper.make_node("Sub", ["orange", "least"], ["above"]),
        helper.make_node("Mul", ["above", "steep"], ["sure"]),
        helper.make_node("Clip", ["sure", "none", "one"], ["there"]),
        helper.make_node("Reshape", ["there", "shape"], ["seen"]),
    ]
    constants["shape"] = np.array([1, 1, 1], np.int64)
    found = "seen"
    if effort:
        nodes.append(helper.make_node("ReduceMean", ["images"], ["work0"], axes=[1], keepdims=0))
        for step in range(effort):
            nodes.append(helper.make_node("MatMul", [f"work{step}", f"work{step}"], [f"product{step}"]))
            nodes.append(helper.make_node("Mul", [f"product{step}", "small"], [f"less{step}"]))
            nodes.append(helper.make_node("Tanh", [f"less{step}"], [f"work{step + 1}"]))
        nodes.append(helper.make_node("ReduceMean", [f"work{effort}"], ["rest"], axes=[1, 2], keepdims=1))
        nodes.append(helper.make_node("Mul", ["rest", "nothing"], ["trace"]))
        nodes.append(helper.make_node("Add", ["seen", "trace"], ["seen_late"]))
        found = "seen_late"
    nodes += [
        helper.make_node("Mul", [found, "score"], ["scores"]),
        helper.make_node("Add", ["boxes", "scores"], ["output0"]),
    ]
    shapes = ([1, 3, SIZE, SIZE], [1, 6, _ANCHORS])
    names = {0: CLASS, 1: "Nothing"}
    return _written(nodes, constants, shapes, TensorProto.FLOAT, _about("detect", SIZE, names))


def _classifier() -> bytes:
    """1×3×64×64 → 1×256 probabilities: the number in the fields."""
    from onnx import TensorProto, helper

    bits = (np.arange(NUMBERS)[None, :] >> np.arange(ROWS * COLUMNS)[:, None]) & 1
    constants = {
        "half": np.array(0.5, np.float32),
        "signs": (bits * 2 - 1).astype(np.float32) * 8,
        "flat": np.array([1, ROWS * COLUMNS], np.int64),
    }
    kernel = [_NUMBER_SIZE // ROWS, _NUMBER_SIZE // COLUMNS]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["grey"], ["fields"], kernel_shape=kernel, strides=kernel),
        helper.make_node("Greater", ["fields", "half"], ["white"]),
        helper.make_node("Cast", ["white"], ["bits"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["bits", "flat"], ["row"]),
        helper.make_node("Sub", ["row", "half"], ["signed"]),
        helper.make_node("MatMul", ["signed", "signs"], ["likeness"]),
        helper.make_node("Softmax", ["likeness"], ["output0"], axis=1),
    ]
    shapes = ([1, 3, _NUMBER_SIZE, _NUMBER_SIZE], [1, NUMBERS])
    names = {number: brand_of(number) for number in range(NUMBERS)}
    return _written(nodes, constants, shapes, TensorProto.FLOAT, _about("classify", _NUMBER_SIZE, names))


def _about(task: str, size: int, names: dict[int, str]) -> dict[str, str]:
    return {
        "task": task,
        "imgsz": str([size, size]),
        "names": str(names),
        "stride": "32" if task == "detect" else "1",
        "batch": "1",
        "channels": "3",
    }


def _written(
    nodes: list[Any],
    constants: dict[str, Any],
    shapes: tuple[list[int], list[int]],
    kind: int,
    about: dict[str, str],
) -> bytes:
    from onnx import helper, numpy_helper

    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "check",
        [helper.make_tensor_value_info("images", kind, shapes[0])],
        [helper.make_tensor_value_info("output0", kind, shapes[1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    helper.set_model_props(model, about)
    written: bytes = model.SerializeToString()
    return written
