"""Opens whatever stands for a pipeline: an archive, its folder, or bare weights."""

import json
import shutil
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from siwatsystem import archive
from siwatsystem.analysis.scratch import scratch
from siwatsystem.config import Settings
from siwatsystem.cores import usable_cores
from siwatsystem.errors import ModelInvalid
from siwatsystem.model_registry import ModelRegistry
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.opening import BARE_SUFFIXES, OpenPipeline, Outbox, open_pipeline
from siwatsystem.pipeline.problems import PipelineInvalid
from siwatsystem.pipeline.spec import bare_model
from siwatsystem.runtime.facts import read_facts
from siwatsystem.signatures import Trust
from siwatsystem.signing_keys import read_trusted


class Archives:
    """Opens pipelines. Exports are kept below `settings.data_dir`, by digest; unpacked archives are not:
    what lies there between two runs, anybody may have changed."""

    def __init__(self, settings: Settings) -> None:
        """Raises InvalidSetting for a trusted key that is none."""
        self._settings = settings
        models = settings.data_dir / "models"
        self._scratch = models / ".run"
        self._trust = Trust(read_trusted(settings.models.trusted_keys), settings.require_signature)
        self._registry = ModelRegistry(settings.runtime, models / ".runtime")
        self._threads = ThreadPoolExecutor(max(4, usable_cores()), thread_name_prefix="branch")

    @contextmanager
    def opened(self, path: Path, outbox: Outbox, classes: Sequence[str] = ()) -> Generator[Pipeline]:
        """The pipeline at `path`: an .mpta, a folder with pipeline.json, or weights, of which `classes`
        are kept (all by default). It works on a copy, except of a folder. Blocks while models load.
        Raises ModelError, OSError."""
        if path.is_dir():
            if not (path / archive.PIPELINE).is_file():
                raise ModelInvalid(f"{path}: the folder holds no {archive.PIPELINE}")
            with closing(self._open(path, outbox)) as opened:
                yield opened.pipeline
            return
        if not path.is_file():
            raise ModelInvalid(f"{path}: there is no such file or folder")
        with scratch(self._scratch) as folder:
            self._fill(folder, path, classes)
            try:
                opened = self._open(folder, outbox)
            except PipelineInvalid as error:
                if not classes:
                    raise
                # Of the pipeline.json that was made for it nobody knows.
                told = "; ".join(str(replace(problem, path="")) for problem in error.problems)
                raise ModelInvalid(f"{path.name}: {told}") from None
            with closing(opened):
                yield opened.pipeline

    def close(self) -> None:
        """Ends the runtimes; every pipeline must be closed."""
        self._threads.shutdown(cancel_futures=True)
        self._registry.close()

    def _open(self, folder: Path, outbox: Outbox) -> OpenPipeline:
        self._trust.check(folder)
        return open_pipeline(folder, self._registry, outbox, self._threads, self._settings.runtime)

    def _fill(self, folder: Path, path: Path, classes: Sequence[str]) -> None:
        bare = path.suffix.lower() in BARE_SUFFIXES
        if classes and not bare:
            raise ModelInvalid("classes are chosen of bare weights only: an archive says which it wants")
        try:
            if bare:
                _lay_bare(folder, path, classes)
            else:
                archive.extract(path, folder, self._settings.models)
        except OSError as error:
            reason = error.strerror or error
            raise ModelInvalid(f"{path.name} cannot be opened below {self._scratch}: {reason}") from None


def _lay_bare(folder: Path, path: Path, classes: Sequence[str]) -> None:
    """A copy of the weights, so that a training may go on writing, and the classes that are wanted."""
    copy = folder / path.name
    shutil.copyfile(path, copy)
    if classes:
        spec = bare_model(path.name, classes, read_facts(copy).task == "detect")
        text = json.dumps(spec.model_dump(by_alias=True, mode="json", exclude_unset=True))
        (folder / archive.PIPELINE).write_text(text, encoding="utf-8")
