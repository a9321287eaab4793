"""A network that computes for hours on bright pictures: a model that hangs in native code."""

import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper

SIDE = 64
FOR_EVER = 10**12
"""Rounds of the network's loop on a bright picture; a dark one takes one."""


def network() -> bytes:
    """A classifier of 1×3×64×64 pictures whose loop counts to one, or where it is bright to `FOR_EVER`."""
    scalar = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["goes_on"], ["goes_on_out"]), helper.make_node("Neg", ["x"], ["y"])],
        "body",
        [
            scalar("round", TensorProto.INT64, []),
            scalar("goes_on", TensorProto.BOOL, []),
            scalar("x", TensorProto.FLOAT, [1, 2]),
        ],
        [scalar("goes_on_out", TensorProto.BOOL, []), scalar("y", TensorProto.FLOAT, [1, 2])],
    )
    constants = {"half": np.float32(0.5), "many": np.int64(FOR_EVER), "one": np.int64(1), "yes": np.bool_(1)}
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "half"], ["bright"]),
        helper.make_node("Where", ["bright", "many", "one"], ["rounds"]),
        helper.make_node("Loop", ["rounds", "yes", "begin"], ["output0"], body=body),
    ]
    graph = helper.make_graph(
        nodes,
        "hangs",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 2])],
        [onnx.numpy_helper.from_array(np.array(value), name) for name, value in constants.items()]
        + [onnx.numpy_helper.from_array(np.float32([[-0.9, -0.1]]), "begin")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(
        model, {"task": "classify", "names": "{0: 'Day', 1: 'Night'}", "imgsz": f"[{SIDE}, {SIDE}]"}
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def archive(path: Path) -> Path:
    """An archive with that network as its root."""
    node = {"modelId": "hangs", "modelFile": "hangs.onnx", "triggerClasses": ["Day"], "minConfidence": 0.1}
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("hangs/pipeline.json", json.dumps({"pipeline": node}))
        packed.writestr("hangs/hangs.onnx", network())
    return path


class Lamp:
    """A snapshot camera whose picture is dark, or while `on` bright."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/snapshot"
        self.on = False

    def jpeg(self) -> bytes:
        picture = np.full((SIDE, SIDE, 3), 250 if self.on else 5, np.uint8)
        return cv2.imencode(".jpg", picture)[1].tobytes()


@contextmanager
def lamp() -> Iterator[Lamp]:
    """The camera, for as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = camera.jpeg()
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    camera = Lamp(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, name="lamp")
    thread.start()
    try:
        yield camera
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
