"""SHA-256 of a model: of its file, or of the files that an OpenVINO model consists of."""

import hashlib
from pathlib import Path


def digest(path: Path) -> str:
    """64 hexadecimal digits. Raises FileNotFoundError where nothing is."""
    files = model_files(path)
    if len(files) == 1:
        return _hash(files[0])
    whole = hashlib.sha256()
    for file in files:
        whole.update(bytes.fromhex(_hash(file)))
    return whole.hexdigest()


def model_files(path: Path) -> list[Path]:
    """The files that make up the model at `path`, in a fixed order."""
    if path.is_dir():
        return sorted(item for item in path.iterdir() if item.is_file())
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file")
    if path.suffix == ".xml":
        beside = (path.with_suffix(".bin"), path.with_name("metadata.json"), path.with_name("metadata.yaml"))
        return [path, *(item for item in beside if item.is_file())]
    return [path]


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
