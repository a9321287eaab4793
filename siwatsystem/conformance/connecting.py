"""Checks of several connections, and of connections that are lost."""

import asyncio

from siwatsystem.conformance.kit import CLOSING, REPORT, Kit, is_report, lacks, lists
from siwatsystem.conformance.outcomes import Failed, Group

GROUP = Group("connections")


@GROUP.check(
    "own-subscriptions",
    expects="of several connections each is told of its own subscriptions alone",
    mend="keep for each subscription which connection holds it, and report and send by that",
)
async def own_subscriptions(kit: Kit) -> None:
    async with kit.watching() as (first, name), kit.wire() as second:
        report = await second.need(is_report, kit.soon(REPORT), "a stateReport for the second", since=0)
        await kit.seen(first, name)
        strays = [message for message in second.messages if message.identifier == name]
        if report.camera(name) is not None or strays:
            raise Failed(f"a second connection is told of {name}, which the first one subscribed")


@GROUP.check(
    "taken-over",
    expects="who subscribes an identifier that another connection holds takes it over; no camera is opened",
    mend="give the subscription to who subscribed it last; the other one's report lacks it from then on",
)
async def taken_over(kit: Kit) -> None:
    camera = kit.camera()
    async with kit.watching(camera) as (first, name), kit.wire() as second:
        opened = kit.stand.asked(camera).opened
        since = first.mark()
        await kit.subscribe(second, name, camera)
        await second.need(lists(name), kit.soon(REPORT), f"{name} in the taker's stateReport", since=0)
        await first.need(lacks(name), kit.soon(REPORT) * 1.5, f"{name} out of the other's stateReport", since)
        await kit.seen(second, name, since=0)
        if kit.stand.asked(camera).opened != opened:
            raise Failed("the camera was opened anew")
        await kit.unsubscribe(second, name)


@GROUP.check(
    "warm",
    expects="a backend that comes back within the grace and subscribes again finds its camera still open",
    mend="keep the subscriptions of a lost connection for disconnect_grace_sec",
)
async def warm(kit: Kit) -> None:
    name, camera = kit.name(), kit.camera()
    async with kit.wire() as wire:
        await kit.subscribe(wire, name, camera)
        await kit.online(wire, name, since=0)
        wire.cut()
    await asyncio.sleep(0.3)
    opened = kit.stand.asked(camera).opened
    async with kit.wire() as wire:
        await kit.subscribe(wire, name, camera)
        await kit.online(wire, name, since=0)
        await kit.seen(wire, name, since=0)
        asked = kit.stand.asked(camera)
        if asked.opened != opened:
            raise Failed("the camera was opened anew, although the backend was away for less than a second")
        await kit.unsubscribe(wire, name)


@GROUP.check(
    "grace-ends",
    expects="a camera is left once the grace of a lost connection is over (--grace says how long that is)",
    mend="end what is kept warm by a timer of its own, not when the next message comes",
)
async def grace_ends(kit: Kit) -> None:
    name, camera = kit.name(), kit.camera()
    async with kit.wire() as wire:
        await kit.subscribe(wire, name, camera)
        await kit.online(wire, name, since=0)
        wire.cut()
    await kit.until_left(camera, kit.options.grace + kit.soon(CLOSING))
