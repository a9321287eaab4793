"""Models that OpenVINO reads as they are: its own folders and `.onnx` files."""

from pathlib import Path

from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime.metadata import Metadata, from_ultralytics, read_beside


def find(path: Path) -> tuple[Path, Metadata]:
    """The file to read and what is known of it, for a folder, an .xml or an .onnx.

    Raises ModelInvalid, ModelRefused.
    """
    if path.suffix.lower() == ".onnx":
        from siwatsystem.runtime.onnx import read_metadata

        return path, read_metadata(path)
    xml = _only_xml(path) if path.is_dir() else path
    if not xml.with_suffix(".bin").is_file():
        raise ModelInvalid(f"{xml.name}: its weights ({xml.with_suffix('.bin').name}) are missing")
    found = read_beside(xml)
    if isinstance(found, Metadata):
        return xml, found
    arguments = found.get("args")
    dynamic = isinstance(arguments, dict) and bool(arguments.get("dynamic"))  # pyright: ignore
    return xml, from_ultralytics(found, dynamic)


def _only_xml(folder: Path) -> Path:
    models = sorted(folder.glob("*.xml"))
    if len(models) != 1:
        raise ModelInvalid(f"{folder.name}: holds {len(models)} OpenVINO models, not one")
    return models[0]
