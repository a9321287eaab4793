"""Opens whatever stands for a pipeline: an archive, its folder, or bare weights."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from siwatsystem import archive
from siwatsystem.config import Settings
from siwatsystem.errors import ModelInvalid
from siwatsystem.model_registry import ModelRegistry
from siwatsystem.pipeline.opening import BARE_SUFFIXES, SPEC_FILE, OpenPipeline, Outbox, open_pipeline
from siwatsystem.pipeline.problems import PipelineInvalid
from siwatsystem.pipeline.spec import bare_model
from siwatsystem.runtime.facts import read_facts
from siwatsystem.signatures import Trust
from siwatsystem.signing_keys import read_trusted


class Archives:
    """Opens pipelines; exports and unpacked archives are kept below `settings.data_dir`, by digest."""

    def __init__(self, settings: Settings) -> None:
        """Raises InvalidSetting for a trusted key that is none."""
        self._settings = settings
        models = settings.data_dir / "models"
        self._unpacked = models / ".run"
        self._trust = Trust(read_trusted(settings.models.trusted_keys), settings.require_signature)
        self._registry = ModelRegistry(settings.runtime, models / ".runtime")
        self._threads = ThreadPoolExecutor(max(4, os.cpu_count() or 1), thread_name_prefix="branch")

    def open(self, path: Path, outbox: Outbox, classes: Sequence[str] = ()) -> OpenPipeline:
        """The pipeline at `path`: an .mpta, a folder with pipeline.json, or weights, of which `classes`
        are kept (all by default). Blocks while models load. Raises ModelError."""
        folder = self._folder(path, classes)
        self._trust.check(folder)
        try:
            return open_pipeline(folder, self._registry, outbox, self._threads, self._settings.runtime)
        except PipelineInvalid as error:
            if not classes:
                raise
            # Of the pipeline.json that was made for it nobody knows.
            told = "; ".join(str(replace(problem, path="")) for problem in error.problems)
            raise ModelInvalid(f"{path.name}: {told}") from None

    def close(self) -> None:
        """Ends the runtimes; every pipeline must be closed."""
        self._threads.shutdown(cancel_futures=True)
        self._registry.close()

    def _folder(self, path: Path, classes: Sequence[str]) -> Path:
        if path.is_dir():
            if not (path / SPEC_FILE).is_file():
                raise ModelInvalid(f"{path}: the folder holds no {SPEC_FILE}")
            return path
        if not path.is_file():
            raise ModelInvalid(f"{path}: there is no such file or folder")
        bare = path.suffix.lower() in BARE_SUFFIXES
        if classes and not bare:
            raise ModelInvalid("classes are chosen of bare weights only: an archive says which it wants")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
        return self._bare(path, digest, classes) if bare else self._archive(path, digest)

    def _archive(self, path: Path, digest: str) -> Path:
        folder = self._unpacked / digest
        if folder.is_dir():
            return folder
        try:
            return archive.extract(path, folder, self._settings.models)
        except OSError as error:
            # Another process may have been faster: the same digest, the same files.
            if folder.is_dir():
                return folder
            raise ModelInvalid(f"{path.name} cannot be unpacked below {folder.parent}: {error}") from None

    def _bare(self, path: Path, digest: str, classes: Sequence[str]) -> Path:
        """A folder of its own in which the weights lie alone, with the classes that are wanted."""
        wanted = hashlib.sha256("\n".join(classes).encode()).hexdigest()[:8]
        folder = self._unpacked / f"{digest}-{wanted}"
        folder.mkdir(parents=True, exist_ok=True)
        link = folder / path.name
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(path.absolute())
        if classes:
            spec = bare_model(path.name, classes, read_facts(path).task == "detect")
            text = json.dumps(spec.model_dump(by_alias=True, mode="json", exclude_unset=True))
            (folder / SPEC_FILE).write_text(text, encoding="utf-8")
        return folder
