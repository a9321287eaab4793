"""Which archives passed their own tests here: remembered, so that a restart does not run them again."""

import contextlib
import hashlib
import json
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path

from siwatsystem import __version__
from siwatsystem.pipeline.executor import Pipeline

log = logging.getLogger(__name__)

MOST_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Proof:
    """How an archive's tests went: how many there were, and what failed first, if anything did."""

    cases: int
    failure: str | None = None


class Proofs:
    """The proofs in a folder, one small file each; those beyond `MOST_KEPT` go, oldest first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, digest: str, pipeline: Pipeline) -> Proof | None:
        """How the archive of that digest went on what `pipeline` runs on; None where that is not known."""
        try:
            values = json.loads(self._path(digest, pipeline).read_text(encoding="utf-8"))
            failure = values["failure"]
            return Proof(int(values["cases"]), None if failure is None else str(failure))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None

    def keep(self, digest: str, pipeline: Pipeline, proof: Proof) -> None:
        """Remember how it went. A disk that takes nothing is logged: the tests are run again then."""
        path = self._path(digest, pipeline)
        temporary = path.with_name(f".new-{uuid.uuid4().hex}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"archive": digest, "cases": proof.cases, "failure": proof.failure}, indent=1)
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
            self._clear()
        except OSError as error:
            log.warning("the result of an archive's tests could not be kept: %s", error)
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _path(self, digest: str, pipeline: Pipeline) -> Path:
        # Another runtime or version of the worker may see other things in the same pictures.
        runtimes = sorted({model.runtime for model in pipeline.models.values()})
        key = "|".join([digest, pipeline.precision, *runtimes, __version__])
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"

    def _clear(self) -> None:
        kept = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[MOST_KEPT:]:
            path.unlink(missing_ok=True)
