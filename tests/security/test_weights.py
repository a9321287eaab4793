"""Weights that run something when they are unpickled, hidden in the ways that a loader may be talked into."""

import io
import os
import pickle
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.runtime import openvino_files
from siwatsystem.runtime.engine_header import read_metadata as read_engine
from siwatsystem.runtime.onnx import read_metadata as read_onnx
from siwatsystem.runtime.weights import load_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore")


class Runs:
    """Makes the file `proof` through `call(*arguments)` when it is unpickled."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = (call, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


def touch(proof: Path) -> Runs:
    return Runs(os.system, f"touch '{proof}'")


def evaluate(proof: Path) -> Runs:
    return Runs(eval, f"open({str(proof)!r}, 'w').close()")


def execute(proof: Path) -> Runs:
    return Runs(exec, f"open({str(proof)!r}, 'w').close()")


def nested(proof: Path) -> Runs:
    """A second pickle in a string, opened by the unpickler itself."""
    return Runs(pickle.loads, pickle.dumps(touch(proof)))


def by_torch(proof: Path) -> Runs:
    """torch's own way to read a storage out of bytes, which loads them without restriction."""
    from torch.storage import _load_from_bytes

    return Runs(_load_from_bytes, legacy_bytes(touch(proof)))


def shell(proof: Path) -> Runs:
    import subprocess

    return Runs(subprocess.check_call, ["touch", str(proof)])


def by_attribute(proof: Path) -> Runs:
    """Nothing but getattr and an import, so that no dangerous name stands in the file."""
    import importlib

    system = Runs(getattr, Runs(importlib.import_module, "posix"), "system")

    class Late:
        def __reduce__(self) -> Any:
            return Call, (system, f"touch '{proof}'")

    return Late()  # type: ignore[return-value]


def Call(function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: N802 # a name in a pickle
    return function(*arguments)


PAYLOADS = [touch, evaluate, execute, nested, by_torch, shell, by_attribute]


def legacy_bytes(value: Any, protocol: int = 2) -> bytes:
    """What torch.save wrote before it wrote zip files: pickles one after another."""
    stream = io.BytesIO()
    for part in (
        0x1950A86A20F9469CFC6C,
        1001,
        {"little_endian": True, "protocol_version": 1001, "type_sizes": {}},
    ):
        pickle.dump(part, stream, protocol=2)
    pickle.dump({"model": value}, stream, protocol=protocol)
    pickle.dump([], stream, protocol=2)
    return stream.getvalue()


def zipped(data: bytes, root: str = "archive", **more: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(f"{root}/data.pkl", data)
        archive.writestr(f"{root}/version", "3\n")
        for name, content in more.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return stream.getvalue()


def tarred(data: bytes) -> bytes:
    """The oldest form: a tar file of pickles."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def forms(value: Any) -> Iterator[tuple[str, bytes]]:
    """Files that hold `value`, by how."""
    for protocol in (0, 2, 4, 5):
        yield f"bare pickle {protocol}", pickle.dumps({"model": value}, protocol=protocol)
    plain = pickle.dumps({"model": value, "train_args": {}}, protocol=2)
    yield "zip", zipped(plain)
    yield "zip, protocol 4", zipped(pickle.dumps({"model": value}, protocol=4))
    yield "zip behind other bytes", b"GIF89a" + bytes(100) + zipped(plain)
    yield "zip with a zip in it", zipped(zipped(plain))
    yield "zip that claims to be TorchScript", zipped(plain, archive__constants_dot_pkl=plain)
    yield "zip whose folder leads out", zipped(plain, root="../archive")
    yield "legacy", legacy_bytes(value)
    yield "tar", tarred(plain)
    yield "not even a dictionary", zipped(pickle.dumps(value, protocol=2))
    yield (
        "beside an honest key",
        zipped(pickle.dumps({"model": None, "ema": None, "epoch": value}, protocol=2)),
    )


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_of_a_hostile_checkpoint_ever_runs(payload: Callable[[Path], Any], tmp_path: Path):
    proof = tmp_path / "proof"
    value = payload(proof)
    pickle.loads(pickle.dumps(value))
    assert proof.exists(), "a harmless file proves nothing"
    proof.unlink()
    for number, (how, data) in enumerate(forms(value)):
        weights = tmp_path / f"{number}.pt"
        weights.write_bytes(data)
        with pytest.raises((ModelRefused, ModelInvalid)):
            load_checkpoint(weights)
        assert not proof.exists(), how


def test_what_was_hidden_in_a_zip_is_told_as_refused(tmp_path: Path):
    weights = tmp_path / "a.pt"
    weights.write_bytes(zipped(pickle.dumps({"model": touch(tmp_path / "proof")}, protocol=2)))
    with pytest.raises(ModelRefused, match="not part of a network"):
        load_checkpoint(weights)


def test_a_hook_on_an_honest_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Not when it is loaded but when it is first called."""
    from siwatsystem.runtime.silence import silence

    silence()
    import torch

    proof = tmp_path / "proof"
    layer = torch.nn.Linear(1, 1)
    layer._forward_pre_hooks[0] = Runs(Call, os.system, f"touch '{proof}'")  # type: ignore[assignment]
    weights = tmp_path / "hook.pt"
    torch.save({"model": layer}, weights)
    with pytest.raises((ModelRefused, ModelInvalid)):
        load_checkpoint(weights)
    assert not proof.exists()


def test_what_is_loaded_later_in_the_process_is_restricted_too(tmp_path: Path):
    """One checkpoint must not open the door for the next."""
    proof = tmp_path / "proof"
    for _ in range(2):
        for how, data in forms(touch(proof)):
            (tmp_path / "again.pt").write_bytes(data)
            with pytest.raises((ModelRefused, ModelInvalid)):
                load_checkpoint(tmp_path / "again.pt")
            assert not proof.exists(), how


def test_compiled_torch_is_refused_too(tmp_path: Path):
    """TorchScript brings code of its own, which runs while it is loaded."""
    from siwatsystem.runtime.silence import silence

    silence()
    import torch

    weights = tmp_path / "script.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1, 1)), weights)
    with pytest.raises((ModelRefused, ModelInvalid)):
        load_checkpoint(weights)


def external(path: Path, location: str) -> None:
    import onnx
    from onnx import TensorProto, helper

    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 32, 32])],
        [tensor],
    )
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert onnx.load(str(path), load_external_data=False).graph.node


@pytest.mark.parametrize("location", ["/etc/passwd", "../../secret", "data.bin", "file:///etc/passwd", ""])
def test_an_onnx_that_reads_further_files_is_refused(location: str, tmp_path: Path):
    path = tmp_path / "a.onnx"
    external(path, location)
    (tmp_path / "data.bin").write_bytes(bytes(4))
    with pytest.raises(ModelRefused, match="other files"):
        read_onnx(path)


def test_an_openvino_model_reads_no_weights_but_those_beside_it(tmp_path: Path):
    """The network's text names offsets alone; which file they are in is ours to say."""
    folder = tmp_path / "net_openvino_model"
    folder.mkdir()
    (folder / "net.xml").write_text('<?xml version="1.0"?><net name="a" version="11" weights="/etc/passwd"/>')
    with pytest.raises(ModelInvalid, match=r"net\.bin"):
        openvino_files.find(folder)
    (folder / "other.xml").write_text("<net/>")
    with pytest.raises(ModelInvalid, match="2 OpenVINO models"):
        openvino_files.find(folder)


FILE = '<!ENTITY x SYSTEM "file:///etc/passwd">'
LAUGHS = '<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
)


@pytest.mark.parametrize(
    ("entities", "name"), [(FILE, "&x;"), (LAUGHS, "&j;")], ids=["a file", "a billion laughs"]
)
def test_an_openvino_model_cannot_name_files_or_grow(entities: str, name: str, tmp_path: Path):
    """Its reader knows no entities; one that did would show the file, or take all memory."""
    from siwatsystem.runtime.silence import silence

    silence()
    import openvino

    net = f'<net name="{name}" version="11"><layers/></net>'
    (tmp_path / "net.xml").write_text(f"<!DOCTYPE net [{entities}]>{net}")
    (tmp_path / "net.bin").write_bytes(b"")
    model = openvino.Core().read_model(tmp_path / "net.xml", tmp_path / "net.bin")
    assert model.get_friendly_name() == name


@pytest.mark.parametrize(
    "data",
    [
        b"",
        struct.pack("<I", 2**32 - 1) + b"{}",
        struct.pack("<I", 1 << 21) + b"[" * (1 << 21),
        struct.pack("<I", 2) + b"[]",
        struct.pack("<I", 4) + b"null",
        struct.pack("<I", 100) + b"{}",
        b"\xff" * 64,
    ],
)
def test_an_engine_whose_header_is_none_is_invalid(data: bytes, tmp_path: Path):
    path = tmp_path / "a.engine"
    path.write_bytes(data)
    with pytest.raises(ModelInvalid):
        read_engine(path)


def test_libraries_may_neither_install_nor_download(tmp_path: Path):
    from siwatsystem.runtime.silence import silence

    silence()
    assert os.environ["YOLO_AUTOINSTALL"] == "false"
    assert os.environ["ULTRALYTICS_SAFE_LOAD"] == "true"
    from ultralytics.nn import tasks
    from ultralytics.utils import AUTOINSTALL, ONLINE

    assert AUTOINSTALL is False
    assert ONLINE is False
    assert tasks._SafeLoad.SUPPORTED is True
    assert tasks.SAFE_LOAD is True
    assert sys.modules.get("openvino_telemetry", "missing") is None
