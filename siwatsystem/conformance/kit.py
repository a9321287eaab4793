"""What every check works with: the worker's address, the test stand, and the usual steps."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from siwatsystem.client import images
from siwatsystem.conformance import archive
from siwatsystem.conformance.outcomes import Failed, Skipped
from siwatsystem.conformance.stand import Stand
from siwatsystem.conformance.wire import Arrived, Test, Wire, wired

SOON = 1.0
"""Seconds within which a worker answers at once."""
REPORT = 2.0
"""Within which a state report is due, whatever happens."""
FRESH = 3.0
"""How old a frame may be when it is told or shown."""
CLOSING = 5.0
"""Within which a camera is left."""


@dataclass(frozen=True, slots=True)
class Options:
    """`patience`: seconds for what may take long (the first download); `grace`: how long the worker keeps the
    subscriptions of a lost connection; `slack`: what every other limit is multiplied with."""

    patience: float = 120.0
    grace: float = 30.0
    slack: float = 1.0
    model_url: str | None = None


@dataclass
class Kit:
    """One run against one worker. `run` makes its names differ from those of other runs."""

    url: str
    token: str | None
    stand: Stand
    options: Options
    run: str
    heard: list[Arrived] = field(default_factory=list[Arrived])
    """Everything that came over any wire."""
    results: dict[str, Any] = field(default_factory=dict[str, Any])
    """What one check measured for another."""
    under_way: set[str] = field(default_factory=set[str])
    """Names of the checks that run just now."""
    gone: str = ""
    """Why nothing more is checked: told once, the other checks are skipped."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def wire(self) -> AbstractAsyncContextManager[Wire]:
        return wired(self.url, self.token, self.heard)

    def soon(self, seconds: float) -> float:
        """A limit, with the slack of this run."""
        return seconds * self.options.slack

    def name(self) -> str:
        """A subscription identifier that nobody used before."""
        number = next(self._numbers)
        return f"check-{self.run}-{number};cam-{number}"

    def camera(self) -> str:
        """The name of a camera of the stand that nobody used before."""
        return f"{self.run}-{next(self._numbers)}"

    def payload(
        self, identifier: str, camera: str, *, model: str = "check", snapshots: int | None = None, **more: Any
    ) -> dict[str, Any]:
        """The payload of a `subscribe`; `snapshots`: milliseconds between two, instead of video."""
        address = {"rtspUrl": self.stand.video(camera)}
        if snapshots is not None:
            address = {"snapshotUrl": self.stand.snapshot(camera), "snapshotInterval": snapshots}
        return {
            "subscriptionIdentifier": identifier,
            **address,
            "modelUrl": self.options.model_url or self.stand.archive(model),
            "modelName": "Conformance",
            "modelId": 990001 + sorted(self.stand.archives).index(model),
            **more,
        }

    async def subscribe(self, wire: Wire, identifier: str, camera: str, **more: Any) -> None:
        await wire.send({"type": "subscribe", "payload": self.payload(identifier, camera, **more)})

    async def unsubscribe(self, wire: Wire, identifier: str) -> None:
        await wire.send({"type": "unsubscribe", "payload": {"subscriptionIdentifier": identifier}})

    async def online(self, wire: Wire, *identifiers: str, since: int | None = None) -> None:
        """Wait until all are. Raises Failed."""
        begin = wire.mark() if since is None else since
        deadline = time.monotonic() + self.options.patience
        for identifier in identifiers:

            def test(message: Arrived, identifier: str = identifier) -> bool:
                return (message.camera(identifier) or {}).get("online") is True

            left = max(0.0, deadline - time.monotonic())
            if await wire.wait(test, left, begin) is None:
                told = [str(error.value.get("error")) for error in wire.find(is_error(identifier), begin)]
                raise Failed(
                    f"{identifier} did not come online within {self.options.patience:.0f} s; "
                    + (f"told: {told[-1]}" if told else wire.came(begin))
                )

    async def detection(self, wire: Wire, identifier: str, since: int | None = None) -> Arrived:
        """The next detection. Raises Failed; Skipped where a model of others need not see anything."""
        begin = wire.mark() if since is None else since
        seconds = self.soon(10)
        blind = "the model of --model-url sees nothing in the test picture"
        if "blind" in self.results:
            raise Skipped(blind)
        found = await wire.wait(is_detection(identifier), seconds, begin)
        if found is None and self.options.model_url is not None:
            self.results["blind"] = True
            raise Skipped(blind)
        if found is None:
            raise Failed(f"no imageDetection of {identifier} within {seconds:.0f} s; {wire.came(begin)}")
        return found

    async def seen(self, wire: Wire, identifier: str, since: int | None = None) -> Arrived | None:
        """The same for checks that are about something else: None where it would be Skipped."""
        try:
            return await self.detection(wire, identifier, since)
        except Skipped:
            return None

    @asynccontextmanager
    async def watching(
        self, camera: str | None = None, more: dict[str, Any] | None = None
    ) -> AsyncGenerator[tuple[Wire, str]]:
        """A connection and its subscription that is online, ended at the end; `more` is for `payload`."""
        identifier = self.name()
        async with self.wire() as wire:
            await self.subscribe(wire, identifier, camera or self.camera(), **(more or {}))
            await self.online(wire, identifier, since=0)
            yield wire, identifier
            if wire.closed is None:
                await self.unsubscribe(wire, identifier)

    def age(self, message: Arrived) -> float | None:
        """Seconds that the picture of a detection was old when it came; None where it does not say."""
        number = archive.number_of_brand(message.object("data", "detection").get(archive.ATTRIBUTE))
        if number is None:
            return None
        return self.stand.age_at(number, message.at)

    async def image(
        self, identifier: str, query: str = "", *, encoded: bool = True
    ) -> tuple[int, str, bytes]:
        """Status, content type and body of the image route."""
        base = images.base_path(self.url)
        path = images.image_path(base, identifier)
        if not encoded:
            path = f"{base.rstrip('/')}/camera/{identifier}/image"
        return await asyncio.to_thread(
            images.get, self.url, path + query, token=self.token, timeout=self.soon(10)
        )

    async def until_left(self, camera: str, seconds: float) -> None:
        """Wait until nobody reads a camera. Raises Failed."""
        deadline = time.monotonic() + seconds
        while self.stand.asked(camera).streams:
            if time.monotonic() > deadline:
                raise Failed(f"the camera is still being read after {seconds:.0f} s")
            await asyncio.sleep(0.05)


def is_report(message: Arrived) -> bool:
    return message.type == "stateReport"


def lists(identifier: str) -> Test:
    """Whether a state report lists the subscription."""

    def test(message: Arrived) -> bool:
        return is_report(message) and message.camera(identifier) is not None

    return test


def lacks(identifier: str) -> Test:
    """Whether a state report does not list it."""

    def test(message: Arrived) -> bool:
        return is_report(message) and message.camera(identifier) is None

    return test


def is_detection(identifier: str) -> Test:
    def test(message: Arrived) -> bool:
        return message.type == "imageDetection" and message.identifier == identifier

    return test


def is_error(identifier: str | None = None) -> Test:
    """Whether it is an `error`, about that subscription where one is named."""

    def test(message: Arrived) -> bool:
        return message.type == "error" and identifier in (None, message.identifier)

    return test


def is_box(value: object) -> bool:
    """Whether it is four numbers."""
    if not isinstance(value, list):
        return False
    edges = cast(list[object], value)
    return len(edges) == 4 and all(isinstance(edge, int | float) for edge in edges)
