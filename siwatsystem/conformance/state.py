"""Checks of `stateReport`."""

import itertools
import statistics
import time

from siwatsystem.conformance.kit import REPORT, SOON, Kit, is_report
from siwatsystem.conformance.outcomes import Failed, Group

INTERVALS = 2

GROUP = Group("state")


@GROUP.check(
    "at-once",
    expects="the worker sends a stateReport as soon as a backend connects",
    mend="send a stateReport right after accepting, before waiting for messages or for the next interval",
)
async def at_once(kit: Kit) -> None:
    async with kit.wire() as wire:
        # Shorter than the timer's interval, whatever the slack.
        await wire.need(is_report, min(kit.soon(SOON), REPORT * 0.8), "a stateReport", since=0)


@GROUP.check(
    "heartbeat",
    expects="a stateReport comes every 2 s while nothing changes",
    mend="send reports from a timer of its own for each connection, which nothing else can hold up",
)
async def heartbeat(kit: Kit) -> None:
    most = REPORT + 0.5 * kit.options.slack
    kit.results["heartbeat"] = False
    async with kit.wire() as wire:
        began = time.monotonic()
        for number in range(INTERVALS + 1):
            left = began + (number + 1) * most - time.monotonic()
            what = f"stateReport {number + 1} of {INTERVALS + 1}"
            count = number + 1
            await wire.need(lambda _, count=count: len(wire.find(is_report)) >= count, left, what, since=0)
        reports = [report.at for report in wire.find(is_report)[: INTERVALS + 1]]
    kit.results["heartbeat"] = True
    gaps = [after - before for before, after in itertools.pairwise(reports)]
    if not REPORT / 2 <= statistics.fmean(gaps) <= most:
        raise Failed("the reports came " + ", ".join(f"{gap:.1f} s" for gap in gaps) + " after one another")


@GROUP.check(
    "request",
    expects="requestState is answered with a stateReport at once",
    mend="answer requestState directly, not with the next report of the timer",
)
async def request(kit: Kit) -> None:
    async with kit.wire() as wire:
        await wire.wait(is_report, kit.soon(REPORT), since=0)
        await wire.wait(is_report, kit.soon(REPORT))
        # Right after a report of the timer the next one is far away.
        await wire.send({"type": "requestState"})
        await wire.need(is_report, min(kit.soon(SOON), REPORT * 0.8), "a stateReport after requestState")
