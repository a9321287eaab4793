"""Checks of what displays share."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from siwatsystem.conformance.kit import REPORT, Kit, lacks
from siwatsystem.conformance.outcomes import Failed, Group, Skipped
from siwatsystem.conformance.subscribing import SNAPSHOT_MS
from siwatsystem.conformance.wire import Wire

DISPLAYS = 4

GROUP = Group("sharing")


@asynccontextmanager
async def displays(kit: Kit, camera: str, **more: Any) -> AsyncGenerator[tuple[Wire, list[str]]]:
    """One connection with several displays on one camera, all of them online."""
    names = [kit.name() for _ in range(DISPLAYS)]
    async with kit.wire() as wire:
        for name in names:
            await kit.subscribe(wire, name, camera, **more)
        await kit.online(wire, *names, since=0)
        yield wire, names
        for name in names:
            await kit.unsubscribe(wire, name)


@GROUP.check(
    "one-connection",
    expects=f"{DISPLAYS} displays on one camera are one connection to it, and each hears what is seen",
    mend="keep one source for each address, and give its frames to all who subscribed it",
)
async def one_connection(kit: Kit) -> None:
    camera = kit.camera()
    async with displays(kit, camera) as (wire, names):
        for name in names:
            await kit.seen(wire, name, since=0)
        most = kit.stand.asked(camera).most_streams
        if most != 1:
            raise Failed(f"{most} connections to the camera were open at a time")


@GROUP.check(
    "snapshots",
    expects=f"{DISPLAYS} displays on one snapshot address fetch it as often as one",
    mend="fetch a snapshot once per interval, whatever number of displays look at it",
)
async def snapshots(kit: Kit) -> None:
    camera = kit.camera()
    async with displays(kit, camera, snapshots=SNAPSHOT_MS):
        before = len(kit.stand.asked(camera).snapshots)
        await asyncio.sleep(2)
        count, due = len(kit.stand.asked(camera).snapshots) - before, 2000 / SNAPSHOT_MS
        if count > due * 1.5 + 1:
            raise Failed(f"{count} snapshots were fetched in 2 s, where {due:.0f} are due")


@GROUP.check(
    "archive",
    expects=f"{DISPLAYS} displays that ask for an archive at once cause one download",
    mend="keep an archive by modelId and address, and let who comes second wait for the first",
)
async def archive(kit: Kit) -> None:
    if kit.options.model_url is not None:
        raise Skipped("only downloads from the kit's own server can be counted")
    async with displays(kit, kit.camera(), model="other"):
        count = kit.stand.downloads("other")
    if count != 1:
        raise Failed(f"it was downloaded {count} times")


@GROUP.check(
    "one-leaves",
    expects="when one display of several leaves, the others go on, over the same connection to the camera",
    mend="close a source with its last user only",
)
async def one_leaves(kit: Kit) -> None:
    camera = kit.camera()
    async with displays(kit, camera) as (wire, names):
        opened = kit.stand.asked(camera).opened
        await kit.unsubscribe(wire, names[0])
        await wire.need(lacks(names[0]), kit.soon(REPORT), f"a stateReport without {names[0]}")
        await kit.seen(wire, names[1])
        if kit.stand.asked(camera).opened != opened:
            raise Failed("the camera was opened anew")
        names.pop(0)
