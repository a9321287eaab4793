"""Everything that is wrong with an archive, or with a folder that is to become one, at once.

The zip, the JSON and the models are looked at one after the other, and what is wrong with one does
not keep the others from being looked at as far as that can be done.
"""

import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from siwatsystem import archive, packing, signatures
from siwatsystem.archive import BARE_SUFFIXES, PIPELINE, Entry
from siwatsystem.config import ModelSettings
from siwatsystem.errors import ModelInvalid, SiwatError
from siwatsystem.expectations import FILE, FOLDER, ExpectationsInvalid, read_cases
from siwatsystem.pipeline.class_checks import check_classes, check_tasks, class_warnings, steps
from siwatsystem.pipeline.node import PipelineSpec
from siwatsystem.pipeline.problems import MOST, Problem, json_path
from siwatsystem.pipeline.sketch import sketch
from siwatsystem.pipeline.spec import PipelineInvalid, bare_model, parse
from siwatsystem.pipeline.unknown_keys import unknown_keys
from siwatsystem.pipeline.warnings import warnings_of
from siwatsystem.runtime.facts import read_facts
from siwatsystem.runtime.metadata import Metadata

ReadModel = Callable[[Path], Metadata]


@dataclass
class Examination:
    """An archive, a folder or a bare model file, and what was found wrong with it.

    `folder` holds its files while the examination lasts; None where they could not be unpacked. `spec`
    is None where pipeline.json is wrong. `signature` says whether an archive is signed, by whom, and
    whether that holds; None for a folder, which is signed as an archive. `models` has, by path inside
    the archive, what each model says of itself or why it cannot be loaded.
    """

    source: Path
    folder: Path | None = None
    entries: tuple[Entry, ...] = ()
    left_out: tuple[str, ...] = ()
    spec: PipelineSpec | None = None
    signature: str | None = None
    models: dict[str, Metadata | str] = field(default_factory=dict[str, Metadata | str])
    problems: list[Problem] = field(default_factory=list[Problem])
    warnings: list[str] = field(default_factory=list[str])

    @property
    def valid(self) -> bool:
        return not self.problems

    @property
    def complete(self) -> bool:
        """Whether nothing was left out because of mistakes: what is hardly meant, and the archive's tests,
        are looked at only where pipeline.json is right."""
        return self.spec is not None


@contextmanager
def examined(
    source: Path, limits: ModelSettings | None = None, read_model: ReadModel = read_facts
) -> Generator[Examination]:
    """Look at `source` as a worker with `limits` (default: the shipped ones) would.

    Nothing is run, exported or written but a temporary folder. Raises nothing for what is wrong with
    `source`: that is in `problems`; OSError where there is no room to unpack it.
    """
    limits = limits or ModelSettings()
    found = Examination(source)
    with tempfile.TemporaryDirectory(prefix="mpta-") as temporary:
        try:
            data = _open(found, limits, Path(temporary) / "archive")
            if source.suffix.lower() in BARE_SUFFIXES and source.is_file():
                found.spec = _bare(found, read_model)
            elif data is not None:
                _read(found, data, read_model)
        except PermissionError as error:
            found.problems.append(Problem("", f"{error.filename} cannot be read ({error.strerror})"))
        except SiwatError as error:
            found.problems.append(Problem("", error.message))
        yield found


def _open(found: Examination, limits: ModelSettings, unpacked: Path) -> dict[str, Any] | None:
    """List the source, unpack it where nothing speaks against it, and give what pipeline.json holds."""
    source = found.source
    if source.is_dir():
        listed = packing.contents(source, limits)
        found.folder, found.left_out = source, listed.left_out
        found.entries = tuple(_entry(source, name) for name in listed.files)
        found.problems += [Problem("", trouble) for trouble in listed.troubles]
        if PIPELINE not in listed.files:
            raise ModelInvalid(f"the folder has no {PIPELINE}")
        return archive.read_pipeline(source)
    if source.suffix.lower() in BARE_SUFFIXES:
        found.folder = source.parent
        found.entries = (_entry(source.parent, source.name),)
        return None
    if source.stat().st_size > limits.max_archive_mb << 20:
        found.problems.append(Problem("", f"the archive is larger than {limits.max_archive_mb} MB"))
    listing = archive.survey(source, limits)
    found.entries = listing.entries
    found.problems += [Problem("", trouble) for trouble in listing.troubles]
    data = None if listing.pipeline is None else archive.parse_json(listing.pipeline)
    if not listing.troubles:
        try:
            found.folder = archive.extract(source, unpacked, limits)
            found.signature = _signature(found, unpacked)
        except ModelInvalid as error:
            found.problems.append(Problem("", error.message))
    return data


def _signature(found: Examination, folder: Path) -> str:
    """Whether it is signed and by whom; whether that key is trusted is for the worker to say."""
    state = signatures.state(folder)
    if state.kind == "broken":
        found.problems.append(Problem("", f"the archive's signature does not hold: {state.reason}"))
    return str(state)


def _read(found: Examination, data: dict[str, Any], read_model: ReadModel) -> None:
    try:
        found.spec = parse(data, [entry.name for entry in found.entries])
    except PipelineInvalid as error:
        found.problems += error.problems
    understood = found.spec or sketch(data)
    if found.spec is None:
        found.warnings += [f"{path}: unknown key" for path in islice(unknown_keys(data), MOST)]
    if understood is None:
        return
    found.problems += _unloadable(found, understood, read_model)
    names = {
        node.model_id: list(facts.names.values())
        for node in understood.pipeline.walk()
        if node.model_id and isinstance(facts := found.models.get(node.model_file), Metadata)
    }
    tasks = {
        node.model_id: facts.task
        for node in understood.pipeline.walk()
        if isinstance(facts := found.models.get(node.model_file), Metadata)
    }
    found.problems += check_classes(understood, names) + check_tasks(understood, tasks)
    if found.spec is not None:
        found.warnings += warnings_of(found.spec) + class_warnings(found.spec, names)
        found.problems += _tests(found, found.spec)


def _tests(found: Examination, spec: PipelineSpec) -> list[Problem]:
    """What is wrong with the expectations of the archive's own tests; whether they hold is not looked at."""
    if found.folder is None:
        return []
    try:
        read_cases(found.folder, spec)
    except ExpectationsInvalid as error:
        where = f"{FOLDER}/{FILE}"
        return [replace(one, path=f"{where}: {one.path}" if one.path else where) for one in error.problems]
    return []


def _unloadable(found: Examination, spec: PipelineSpec, read_model: ReadModel) -> list[Problem]:
    """Read what each model says of itself; what cannot be loaded is one mistake at each node."""
    problems: list[Problem] = []
    if found.folder is None:
        return problems
    for step in steps(spec.pipeline):
        file = step.node.model_file
        if not _is_there(found, file):
            continue  # told already; and a path that leads out of the archive is not followed
        if file not in found.models:
            found.models[file] = _facts(found.folder / file, read_model)
        facts = found.models[file]
        if isinstance(facts, str):
            problems.append(Problem(json_path((*step.path, "modelFile")), facts))
    return problems


def _is_there(found: Examination, file: str) -> bool:
    return any(entry.name == file or entry.name.startswith(f"{file}/") for entry in found.entries)


def _facts(path: Path, read_model: ReadModel) -> Metadata | str:
    try:
        return read_model(path)
    except SiwatError as error:
        return error.message
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror or type(error).__name__})"


def _bare(found: Examination, read_model: ReadModel) -> PipelineSpec | None:
    facts = found.models[found.source.name] = _facts(found.source, read_model)
    if isinstance(facts, str):
        found.problems.append(Problem("", facts))
        return None
    return bare_model(found.source.name, list(facts.names.values()), facts.task == "detect")


def _entry(folder: Path, name: str) -> Entry:
    size = (folder / name).stat().st_size
    return Entry(name, size, size)


def as_json(found: Examination) -> Mapping[str, Any]:
    """The mistakes and warnings, for programs."""
    return {
        "source": str(found.source),
        "valid": found.valid,
        "complete": found.complete,
        "problems": [
            {"path": problem.path, "message": problem.message, "hint": problem.hint}
            for problem in found.problems
        ],
        "warnings": found.warnings,
    }
