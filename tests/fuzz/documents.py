"""pipeline.json, tests/expected.json and signature.json: right ones of the examples, made wrong."""

# ruff: noqa: PT017 - what is refused may be any of many, and is looked at more closely

import json
import re
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from siwatsystem import archive, signatures
from siwatsystem.errors import ModelError
from siwatsystem.expectations import FILE, FOLDER, ExpectationsInvalid, read_cases
from siwatsystem.pipeline.class_checks import check_classes, check_tasks, class_warnings
from siwatsystem.pipeline.problems import Problem
from siwatsystem.pipeline.sketch import sketch
from siwatsystem.pipeline.spec import PipelineInvalid, PipelineSpec, parse
from siwatsystem.pipeline.warnings import warnings_of
from siwatsystem.signatures import Trust
from siwatsystem.signing_keys import PrivateKey
from tests.fuzz import mutation
from tests.fuzz.target import Input, Target, sendable

ROOT = Path(__file__).parent.parent.parent
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
PATH = re.compile(r"(pipeline|redis|postgresql|cases)\b.*|", re.DOTALL)
"""Every mistake says where it is; only what concerns the whole document has no path."""
FILES = (
    "demo/pipeline.json",
    "examples/counter/archive/pipeline.json",
    "examples/plates/archive/pipeline.json",
)
EVERYTHING: dict[str, Any] = {
    "redis": {"host": "127.0.0.1", "port": 6379, "password": "p", "db": 1},
    "postgresql": {
        "host": "h",
        "port": 5432,
        "database": "d",
        "username": "u",
        "password": "p",
        "schema": "s",
    },
    "pipeline": {
        "modelId": "car_v1",
        "modelFile": "a.pt",
        "minConfidence": 0.5,
        "triggerClasses": ["Car", "Frontal"],
        "multiClass": True,
        "expectedClasses": ["Car"],
        "objectClass": "Car",
        "tracking": {
            "method": "botsort",
            "reidModel": "reid.onnx",
            "config": {"track_buffer": 3.5, "with_reid": True, "min_hits": 2},
            "zone": [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]],
            "stabilityThreshold": 3,
            "maxJump": 400,
            "once": True,
        },
        "actions": [
            {
                "type": "redis_save_image",
                "key": "i:{display_id}:{filename}",
                "region": "Frontal",
                "expire_seconds": 60,
            },
            {"type": "redis_publish", "channel": "c", "message": '{"k": "{image_key}", "n": {confidence}}'},
        ],
        "parallelActions": [
            {
                "type": "postgresql_update_combined",
                "table": "gas_station_1.car_frontal_info",
                "key_field": "session_id",
                "key_value": "{session_id}",
                "waitForBranches": ["car_brand", "plate"],
                "fields": {"car_brand": "{car_brand.brand}", "n": 5, "at": "NOW()"},
            }
        ],
        "branches": [
            {
                "modelId": "car_brand",
                "modelFile": "b.pt",
                "minConfidence": 0.7,
                "triggerClasses": ["Frontal"],
                "crop": True,
                "cropClass": "Frontal",
                "resizeTarget": [224, 224],
                "parallel": True,
                "resultField": "brand",
                "attribute": "carBrand",
                "voting": {"minVotes": 3, "minShare": 0.6},
                "minResultConfidence": 0.4,
            },
            {
                "modelId": "plate",
                "modelFile": "b.pt",
                "minConfidence": 0.3,
                "triggerClasses": ["Car"],
                "crop": True,
                "readText": True,
                "branches": [],
            },
        ],
    },
}


@cache
def pipelines() -> tuple[dict[str, Any], ...]:
    """Documents that hold."""
    return (EVERYTHING, *(json.loads((ROOT / name).read_text()) for name in FILES))


@cache
def models() -> dict[str, list[str]]:
    return {"car_v1": ["Car", "Frontal"], "car_brand": ["Honda", "Aster"], "plate": list("ABC012")}


# --- pipeline.json ---------------------------------------------------------------------------------


def make_pipeline(random: Random) -> Input:
    value = mutation.changed(random, random.choice(pipelines()))
    if random.randrange(40) == 0:
        value = _grown(random, value)
    data = mutation.dumped(random, value).encode("utf-8", "surrogatepass")
    return mutation.damaged(random, data) if random.randrange(20) == 0 else data


def _grown(random: Random, value: Any) -> Any:
    """The document with one of its lists or texts made very long, or a branch of it very deep."""
    there = mutation.places(value)
    if not there:
        return value
    holder, key = random.choice(there)
    one, count = holder[key], random.choice((50, 2000))
    if isinstance(one, list) and one:
        holder[key] = one * count
    elif isinstance(one, str):
        holder[key] = random.choice((one * count, "".join(f"{{{one}{n}}}" for n in range(count))))
    else:
        holder[key] = [one] * count
    return value


def check_pipeline(data: Input) -> bool:
    """A pipeline that all the checks can be asked about, or ModelInvalid with a path for each mistake."""
    assert isinstance(data, bytes)
    try:
        value = archive.parse_json(data)
    except ModelError as error:
        sendable(error.message)
        return False
    spec = _parsed(value)
    understood = spec or sketch(value)
    if understood is not None:
        _told(check_classes(understood, models()) + check_tasks(understood, {"car_brand": "classify"}))
    if spec is None:
        return False
    for warning in warnings_of(spec) + class_warnings(spec, models()):
        warning.encode("utf-8", "backslashreplace")
    assert spec.files
    # What was taken can be written and is then taken again.
    again = json.loads(json.dumps(value))
    assert parse(again) == spec
    return True


def _parsed(value: object) -> PipelineSpec | None:
    spec: PipelineSpec | None = None
    for files in (None, ["pipeline.json", "a.pt", "b.pt", "reid.onnx"]):
        try:
            found = parse(value, files)
        except PipelineInvalid as error:
            assert error.problems
            sendable(error.message)
            _told(error.problems)
        else:
            spec = found if files is None else spec
    return spec


def _told(problems: list[Problem]) -> None:
    for problem in problems:
        assert problem.message
        assert PATH.fullmatch(problem.path), problem.path
        sendable(str(problem))


# --- tests/expected.json ---------------------------------------------------------------------------

CASES: dict[str, Any] = {
    "$schema": "x",
    "cases": [
        {"file": "one.jpg", "expect": [{"class": "Car", "count": 1, "box": [1, 2, 30, 40]}], "exactly": True},
        {"file": "clip.mp4", "fps": 5, "expect": [{"class": "Frontal", "min": 1, "max": 3, "min_iou": 0.5}]},
        {"file": "two.jpg", "expect": [{"class": "car", "branches": {"car_brand": "Honda"}}], "//": "note"},
    ],
}
CASES["cases"][1]["expect"][0] = {"class": "Frontal", "min": 1, "max": 3, "minIou": 0.5}
CASES["cases"][2]["expect"][0]["attributes"] = {"carBrand": "Honda"}


@contextmanager
def _folder(**files: bytes) -> Generator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="fuzz-") as name:
        folder = Path(name)
        (folder / FOLDER).mkdir()
        for path in ("one.jpg", "clip.mp4", "two.jpg"):
            (folder / FOLDER / path).touch()
        for path, data in files.items():
            (folder / path.replace("__", "/")).write_bytes(data)
        yield folder


def make_expected(random: Random) -> Input:
    return mutation.dumped(random, mutation.changed(random, CASES)).encode("utf-8", "surrogatepass")


def check_expected(data: Input) -> bool:
    """Cases, or ExpectationsInvalid."""
    assert isinstance(data, bytes)
    spec = parse(EVERYTHING)
    with _folder() as folder:
        (folder / FOLDER / FILE).write_bytes(data)
        try:
            cases = read_cases(folder, spec)
        except ExpectationsInvalid as error:
            sendable(error.message)
            for problem in error.problems:
                sendable(str(problem))
            return False
    for case in cases:
        for expectation in case.expect:
            assert expectation.bounds(case.exactly)[0] >= 0
    return True


# --- signature.json --------------------------------------------------------------------------------


@cache
def signed() -> tuple[dict[str, Any], Trust]:
    """What signs a folder of one file, and the trust in its key."""
    key = PrivateKey.new()
    with _folder() as folder:
        (folder / "pipeline.json").write_text("{}")
        text = signatures.sign(folder, archive.files_of(folder), key).read_text()
    return json.loads(text), Trust(frozenset({key.public}), required=True)


def make_signature(random: Random) -> Input:
    value = mutation.changed(random, signed()[0], 2)
    if random.randrange(3) == 0:
        value = signed()[0]
    return mutation.dumped(random, value).encode("utf-8", "surrogatepass")


def check_signature(data: Input) -> bool:
    """Trusted only as it was signed; else ModelError, and nothing but that."""
    assert isinstance(data, bytes)
    values, trust = signed()
    with _folder() as folder:
        (folder / "pipeline.json").write_text("{}")
        (folder / archive.SIGNATURE).write_bytes(data)
        try:
            state = trust.check(folder)
        except ModelError as error:
            sendable(error.message)
            return False
        finally:
            shutil.rmtree(folder / FOLDER)
    assert state.kind == "signed"
    assert {"algorithm": "Ed25519", **json.loads(data)} == values
    return True


TARGETS = (
    Target("pipelines", make_pipeline, check_pipeline, share=0.15),
    Target("expected", make_expected, check_expected, share=0.1),
    Target("signatures", make_signature, check_signature, share=0.1),
)
