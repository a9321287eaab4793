"""What the control server and its app read: apps' messages, launches, analyses, apps' configs."""

# ruff: noqa: PT017 - what is refused may be any of many, and is looked at more closely

import atexit
import copy
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from jsonschema import Draft202012Validator
from pydantic import ValidationError

from siwatsystem.analysis.app_config import read_config
from siwatsystem.config import ControlSettings, WebSocketSettings
from siwatsystem.deepstream.allowed import Allowed
from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.asyncapi import document
from siwatsystem.deepstream.connections import AppConnection
from siwatsystem.deepstream.effects import Send
from siwatsystem.deepstream.events import FileGiven, Launch, Launched, Received, Start, TimePassed
from siwatsystem.deepstream.fields import plain
from siwatsystem.deepstream.messages import TO_SERVER, AppMessage, app_message, encode
from siwatsystem.deepstream.rest import Launch as LaunchBody
from siwatsystem.deepstream.rest_analysis import StartAnalysis
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.to_server import AppReady
from siwatsystem.errors import InvalidSetting
from tests.fuzz import mutation
from tests.fuzz.target import Input, Target, sendable

Body = TypeVar("Body")
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None

# --- apps' messages --------------------------------------------------------------------------------

ABOUT = {"stream_id": 0, "camera_id": 3, "request_id": "run:r#1"}
OF_THE_RUN: tuple[dict[str, Any], ...] = (
    {"type": "analysis_started", **ABOUT, "status": "ok"},
    {"type": "push_ack", **ABOUT, "request_id": "run:r#1/0.1", "status": "ok"},
    {"type": "processing_started", **ABOUT, "file_id": 7, "current_file": "/v/7.mp4"},
    {"type": "file_done", **ABOUT, "file_id": 7, "processed_file": "/r/7"},
    {"type": "analysis_complete", **ABOUT, "status": "done", "processed_count": 1, "message": ""},
    {"type": "analysis_interrupted", **ABOUT, "status": "ok"},
)
EXAMPLES = (*OF_THE_RUN, *(each for model in TO_SERVER for each in (model.EXAMPLE, *model.MORE)))


@cache
def validators() -> dict[str, Draft202012Validator]:
    """What the server says, by the AsyncAPI document."""
    whole = document("0")
    messages = whole["components"]["messages"].values()
    return {
        message["name"]: Draft202012Validator({**message["payload"], "components": whole["components"]})
        for message in messages
    }


def make_message(random: Random) -> Input:
    kind = random.randrange(20)
    if kind == 0:
        return mutation.noise(random)
    value = mutation.changed(random, copy.deepcopy(random.choice(EXAMPLES)))
    text = mutation.dumped(random, value)
    return text.encode("utf-8", "surrogatepass") if kind == 1 else text


def check_message(text: Input) -> bool:
    """A message that is written as it was read, and that the state core takes in any of its states."""
    said = AppConnection(1, WebSocketSettings()).read(text, 0.0)
    if said is None:
        return False
    assert app_message(encode(said)) == said
    for control in (Control(), _connected(), _running()):
        _tell(control, said)
    return True


def _connected() -> Control:
    control = Control()
    control.handle(Launch("l", Spec("/configs/a.txt", 2), "one"), 0)
    control.handle(Launched("one", 1, 4711), 0)
    ready = {"instance_id": "one", "config_path": "/configs/a.txt", "streams_count": 2}
    control.handle(Received(1, AppReady.model_validate(ready)), 0)
    return control


def _running() -> Control:
    control = _connected()
    files = (FileGiven(7, "/v/7.mp4"), FileGiven(8, "/v/8.mp4"))
    control.handle(Start("r", 3, "fileset", "/v", files=files), 1)
    for each in OF_THE_RUN[:3]:
        control.handle(Received(1, app_message(json.dumps(each))), 1)
    return control


def _tell(control: Control, said: AppMessage) -> None:
    effects = control.handle(Received(1, said), 2)
    effects += control.handle(TimePassed(), 1000)
    for effect in effects:
        if isinstance(effect, Send):
            told = json.loads(encode(effect.message))
            validators()[told["type"]].validate(told)


# --- launches and analyses -------------------------------------------------------------------------


@cache
def allowed() -> tuple[Path, Allowed]:
    """A folder of configs, and what may be launched with it."""
    folder = Path(tempfile.mkdtemp(dir=MEMORY, prefix="fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "cars.txt").touch()
    (folder / "out.txt").symlink_to("/etc/hostname")
    settings = ControlSettings(
        config_folders=(folder,), docker=True, container_programs={"*": ("/opt/app", "-c", "{config}")}
    )
    return folder, Allowed(settings, "ws://127.0.0.1:1/deepstream/ws")


def make_launch(random: Random) -> Input:
    folder, _ = allowed()
    bodies = [
        {**each, "config_path": f"{folder}/cars.txt"} for each in (LaunchBody.EXAMPLE, *LaunchBody.MORE)
    ]
    body = mutation.changed(random, random.choice(bodies))
    return mutation.dumped(random, body).encode("utf-8", "surrogatepass")


def check_launch(data: Input) -> bool:
    """What is launched is a config of the folder, by an argument list of texts that no shell must read."""
    body = _read(data, LaunchBody.model_validate)
    if body is None:
        return False
    gpus, more = tuple(body.gpu_allocated or ()), tuple(body.additional_args or ())
    spec = Spec(body.config_path, body.streams_count, gpus, body.docker_container, more)
    folder, judge = allowed()
    refused = judge.refused(spec)
    if refused is not None:
        assert refused.status in (403, 404, 422)
        sendable(refused.reason)
        return False
    if spec.docker_container is None:
        assert Path(spec.config_path).resolve().is_relative_to(folder.resolve())
    assert not any("\0" in part for part in judge.arguments("one", spec))
    return True


def make_analysis(random: Random) -> Input:
    body = mutation.changed(random, random.choice((StartAnalysis.EXAMPLE, *StartAnalysis.MORE)))
    return mutation.dumped(random, body).encode("utf-8", "surrogatepass")


def check_analysis(data: Input) -> bool:
    """A command that the state core takes, whoever is connected."""
    body = _read(data, StartAnalysis.model_validate)
    if body is None:
        return False
    assert StartAnalysis.model_validate(plain(body)) == body
    files = tuple(FileGiven(each.file_id, each.file_path, each.file_name) for each in body.files or ())
    start = Start(
        "q",
        body.camera_id,
        body.type,
        body.path,
        body.name,
        files=files,
        instance_id=body.instance_id,
        stream_id=body.stream_id,
        closed=body.end,
    )
    for control in (Control(), _running()):
        for effect in control.handle(start, 2):
            json.dumps(getattr(effect, "body", None)).encode()
    return True


def _read(data: Input, validate: Callable[[Any], Body]) -> Body | None:
    try:
        return validate(json.loads(data))
    except (ValidationError, ValueError, RecursionError) as error:
        sendable(str(error)[:1000].encode(errors="replace").decode())
        return None


# --- configs of apps -------------------------------------------------------------------------------

VALUES: dict[str, Any] = {
    "archive": "cars.mpta",
    "classes": ["car", "bus"],
    "streams": 4,
    "precision": "exact",
    "every": 3,
    "tracking": "file",
    "video": True,
    "resume": False,
    "actions": "none",
    "display": "gate",
    "input_folders": ["/videos"],
    "output_folders": ["results"],
}
INI = """[application]
enable-perf-measurement=1
# a remark
[source0]
enable=1
type=3
uri=file:///videos/a.mp4
num-sources=2
drop-frame-interval=2
[source1]
enable=0
[source-list]
num-source-bins=0
[streammux]
batch-size=4
[primary-gie]
interval=1
[siwat]
archive=cars.mpta
classes=car;bus;
tracking=file
"""
INI_BITS = (
    "[",
    "]",
    "=",
    ";",
    "#",
    "\n",
    " ",
    "%(archive)s",
    "${HOME}",
    "[siwat]\n",
    "interval=-1\n",
    "\x00",
    "é",
)


def make_json(random: Random) -> Input:
    text = mutation.dumped(random, mutation.changed(random, VALUES))
    return text.encode("utf-8", "surrogatepass")


def make_toml(random: Random) -> Input:
    value = mutation.changed(random, VALUES)
    if isinstance(value, dict):
        value = {key: each for key, each in value.items() if each is not None}
        text = "\n".join(f"{_key(key)} = {json.dumps(each)}" for key, each in value.items())
    else:
        text = str(value)
    text = text if random.randrange(6) else mutation.torn(random, text)
    return text.encode("utf-8", "surrogatepass")


def _key(key: str) -> str:
    return key if key.replace("_", "").isalnum() and key.isascii() else json.dumps(key)


def make_ini(random: Random) -> Input:
    text = INI
    for _ in range(random.randrange(6)):
        at, size = random.randrange(len(text) + 1), random.randrange(6)
        text = text[:at] + random.choice((*INI_BITS, *mutation.TEXTS)) + text[at + size :]
    data = text.encode("utf-8", "surrogatepass")
    return mutation.damaged(random, data) if random.randrange(12) == 0 else data


def config_check(suffix: str) -> Callable[[Input], bool]:
    """A config with paths of its folder, or InvalidSetting in one line."""

    def check(data: Input) -> bool:
        assert isinstance(data, bytes)
        with tempfile.NamedTemporaryFile(dir=MEMORY, suffix=suffix) as file:
            file.write(data)
            file.flush()
            try:
                config, warnings = read_config(Path(file.name))
            except InvalidSetting as error:
                sendable(error.message)
                assert "\n" not in error.message, error.message
                return False
        assert config.archive.is_absolute()
        assert config.streams is None or 1 <= config.streams <= 256
        for warning in warnings:
            sendable(warning)
            assert "\n" not in warning
        return True

    return check


TARGETS = (
    Target("app_messages", make_message, check_message, share=0.2),
    Target("launches", make_launch, check_launch, share=0.1),
    Target("analyses", make_analysis, check_analysis, share=0.2),
    Target("json_configs", make_json, config_check(".json"), share=0.1),
    Target("toml_configs", make_toml, config_check(".toml"), share=0.1),
    Target("ini_configs", make_ini, config_check(".txt"), share=0.1),
)
