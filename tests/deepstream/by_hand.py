"""A state core driven by hand: one event after the other."""

from typing import Any

from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.effects import Answer, Send
from siwatsystem.deepstream.events import (
    FileGiven,
    Launch,
    Launched,
    Received,
    Start,
    TimePassed,
)
from siwatsystem.deepstream.limits import Limits
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.to_server import (
    AppReady,
)

CONFIG = "/configs/cars.txt"


class Bench:
    """A state core with app `a` on connection 1, driven by hand."""

    def __init__(self, streams: int = 2, limits: Limits | None = None, *, connected: bool = True) -> None:
        self.control = Control(limits)
        self.now = 0.0
        self.commands = 0
        self.do(Launch("launch", Spec(CONFIG, streams), "a"))
        self.do(Launched("a", 1, 4711))
        if connected:
            self.ready(1)

    def do(self, event: Any) -> list[Any]:
        return self.control.handle(event, self.now)

    def after(self, seconds: float) -> list[Any]:
        self.now += seconds
        return self.do(TimePassed())

    def ready(self, connection: int, name: str = "a", streams: int = 2, **fields: Any) -> list[Any]:
        message = AppReady(instance_id=name, config_path=CONFIG, streams_count=streams, **fields)
        return self.do(Received(connection, message))

    def says(
        self, kind: Any, camera: int = 3, stream: int = 0, connection: int = 1, **fields: Any
    ) -> list[Any]:
        return self.do(Received(connection, kind(stream_id=stream, camera_id=camera, **fields)))

    def start(self, camera: int = 3, count: int = 2, **fields: Any) -> Answer:
        self.commands += 1
        fields = {"request_id": f"r{self.commands}", "kind": "fileset", "path": "/v", **fields}
        fields.setdefault("files", files(count))
        self.effects = self.do(Start(camera_id=camera, **fields))
        return one(self.effects, Answer)

    def request(self, request_id: str = "r1") -> Any:
        return self.control.request(request_id)

    @property
    def app(self) -> Any:
        return self.control.app("a")


def files(count: int, first: int = 0) -> tuple[FileGiven, ...]:
    return tuple(FileGiven(number, f"/v/{number}") for number in range(first, first + count))


def all_of(effects: list[Any], kind: type) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]


def one(effects: list[Any], kind: type) -> Any:
    (found,) = all_of(effects, kind)
    return found


def sent(effects: list[Any]) -> list[Any]:
    return [effect.message for effect in effects if isinstance(effect, Send)]
