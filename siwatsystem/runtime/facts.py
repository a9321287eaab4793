"""What a model file says of itself, without loading it to infer: task, class names, input size."""

from pathlib import Path

from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime.metadata import Metadata


def read_facts(path: Path) -> Metadata:
    """The metadata of the model at `path` (.pt, .onnx, .engine, OpenVINO .xml or folder).

    Nothing is exported or compiled; weights (.pt) still take torch and the restricted loader. Raises
    FileNotFoundError, ModelInvalid, ModelRefused.
    """
    path = path.absolute()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such model file")
    kind = ".xml" if path.is_dir() else path.suffix.lower()
    if kind == ".pt":
        from siwatsystem.runtime.weights import load_checkpoint

        return load_checkpoint(path)[1]
    if kind == ".engine":
        from siwatsystem.runtime.engine_header import read_metadata

        return read_metadata(path)
    if kind in (".onnx", ".xml"):
        from siwatsystem.runtime.openvino_files import find

        return find(path)[1]
    raise ModelInvalid(f"{path.name}: no model file (.pt, .onnx, .engine or an OpenVINO folder)")
