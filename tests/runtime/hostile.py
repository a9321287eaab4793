"""Networks that do harm when they are loaded or run, made of an honest `.onnx`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def endless(source: Path, target: Path) -> Path:
    """A loop of 2⁶² rounds."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["sum", "one"], ["more"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, []),
        ],
        [numpy_helper.from_array(np.array(1, np.float32), "one")],
    )
    rounds = numpy_helper.from_array(np.array(2**62, np.int64), "rounds")
    yes = numpy_helper.from_array(np.array(True), "yes")
    nodes = [
        helper.make_node("ReduceMax", ["PICTURE"], ["start"], keepdims=0),
        helper.make_node("Loop", ["rounds", "yes", "start"], ["bad"], body=body),
    ]
    return _with(source, target, nodes, [rounds, yes])


def huge(source: Path, target: Path) -> Path:
    """A tensor of 240 GB."""
    shape = numpy_helper.from_array(np.array([1, 3, 200_000, 100_000], np.int64), "shape")
    nodes = [
        helper.make_node("ReduceMax", ["PICTURE"], ["greatest"], keepdims=1),
        helper.make_node("Expand", ["greatest", "shape"], ["bad"]),
    ]
    return _with(source, target, nodes, [shape])


def failing(source: Path, target: Path) -> Path:
    """A whole number divided by zero, when it is run."""
    nodes = [
        helper.make_node("Cast", ["PICTURE"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Sub", ["whole", "whole"], ["zero"]),
        helper.make_node("Div", ["whole", "zero"], ["bad"]),
    ]
    return _with(source, target, nodes, [])


def _with(source: Path, target: Path, nodes: Sequence[Any], constants: Sequence[Any]) -> Path:
    """The network, whose output depends on `bad`, which the nodes make of PICTURE, its input."""
    model = onnx.load(source)
    graph, output = model.graph, model.graph.output[0].name
    for node in graph.node:
        node.output[:] = ["honest" if name == output else name for name in node.output]
    for node in nodes:
        node.input[:] = [graph.input[0].name if name == "PICTURE" else name for name in node.input]
    graph.initializer.extend(constants)
    graph.node.extend(nodes)
    graph.node.append(helper.make_node("Cast", ["bad"], ["number"], to=TensorProto.FLOAT))
    graph.node.append(helper.make_node("ReduceMax", ["number"], ["most"], keepdims=0))
    graph.node.append(helper.make_node("Add", ["honest", "most"], [output]))
    target.write_bytes(model.SerializeToString())
    return target
