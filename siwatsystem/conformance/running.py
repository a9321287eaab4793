"""Runs checks against a worker: groups side by side, within a group one after the other.

Where nothing may change meanwhile comes first, what loads the worker when the others are through, and
what looks at all that came is last.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from siwatsystem.client import ClientError, Unreachable
from siwatsystem.conformance import (
    archive,
    connecting,
    fields,
    images,
    overload,
    refusals,
    sessions,
    sharing,
    stand,
    state,
    subscribing,
)
from siwatsystem.conformance.kit import SOON, Kit, Options, is_report
from siwatsystem.conformance.outcomes import Check, Closed, Failed, Noted, Outcome, Skipped, Status
from siwatsystem.urls import bare

log = logging.getLogger(__name__)

GROUPS = (
    state.GROUP,
    refusals.GROUP,
    subscribing.GROUP,
    subscribing.ENDING,
    sharing.GROUP,
    sessions.GROUP,
    connecting.GROUP,
    images.GROUP,
    overload.GROUP,
    fields.GROUP,
)
CHECKS: tuple[Check, ...] = tuple(check for group in GROUPS for check in group.checks)
FIRST, LAST = (state.GROUP.name, refusals.GROUP.name), (overload.GROUP.name, fields.GROUP.name)
STAGES = (
    FIRST,
    tuple(group.name for group in GROUPS if group.name not in FIRST + LAST),
    *((name,) for name in LAST),
)
STAYS = "the worker is there for as long as it is checked"
LOOK = "look at the worker's log: it has ended, or no longer answers"
GONE_SEC = 1.0
"""How much later a worker that takes no connection is tried once more."""
HUNG_SEC = 60.0
"""What a check may take beyond the patience of its options."""
TRY_LATER, PAUSE_SEC = 1013, 2.0
"""A worker closes with this code what it has no room for just now."""


def chosen(only: Iterable[str] = (), skip: Iterable[str] = ()) -> list[Check]:
    """The checks that these names, groups or patterns leave. Raises ValueError for one that fits nothing."""
    only, skip = list(only), list(skip)
    for word in (*only, *skip):
        if not any(_fits(check, word) for check in CHECKS):
            raise ValueError(f"no check is called {word}")
    return [
        check
        for check in CHECKS
        if (not only or any(_fits(check, word) for word in only))
        and not any(_fits(check, word) for word in skip)
    ]


def _fits(check: Check, word: str) -> bool:
    return word in (check.name, check.group) or fnmatchcase(check.name, word)


def archives() -> dict[str, bytes]:
    """What the test stand serves: a light archive, the same for another download, and a heavy one."""
    light = archive.make()
    return {"check": light, "other": light, "heavy": archive.make(overload.EFFORT)}


def run(
    url: str,
    checks: Sequence[Check],
    *,
    token: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    options: Options | None = None,
    told: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Run the checks against the worker at `url`, which reaches this machine as `host`; `told` hears each
    outcome as it comes. Raises Unreachable, Unauthorized, and OSError where the test stand cannot listen."""
    with stand.running(archives(), host, port) as running:
        kit = Kit(url, token, running, options or Options(), uuid.uuid4().hex[:6])
        return asyncio.run(_all(kit, checks, told))


async def _all(kit: Kit, checks: Sequence[Check], told: Callable[[Outcome], None]) -> list[Outcome]:
    await _let_in(kit)
    outcomes: dict[str, Outcome] = {}

    async def group(name: str) -> None:
        for check in checks:
            if check.group == name:
                why = reason or kit.gone
                outcome = Outcome(check, "skipped", why) if why else await outcome_of(kit, check)
                outcomes[check.name] = outcome
                told(outcome)

    reason = ""
    for names in STAGES:
        await asyncio.gather(*map(group, names))
        if names == FIRST and _is_no_worker(kit, outcomes):
            reason = "it never sent a stateReport: is this a worker?"
    return [outcomes[check.name] for check in checks]


async def _let_in(kit: Kit) -> None:
    """Raises Unreachable where the worker accepts connections and has no room for them, not even later."""
    closed = None
    for pause in (PAUSE_SEC, 0.0):
        async with kit.wire() as wire:
            with contextlib.suppress(Failed):
                await wire.wait(lambda _: True, kit.soon(SOON), since=0)
            closed = wire.closed
        if closed is None or closed.code != TRY_LATER:
            return
        await asyncio.sleep(pause)
    why = f" ({closed.reason})" if closed.reason else ""
    raise Unreachable(
        f"{bare(kit.url)}: accepts the connection and closes it with {TRY_LATER}{why}: it has too many "
        "connections, or was shown too many wrong tokens; try again later"
    )


def _is_no_worker(kit: Kit, outcomes: dict[str, Outcome]) -> bool:
    """Whether all checks of state reports ran, and not one report has come over any connection."""
    ran = [outcomes.get(check.name) for check in state.GROUP.checks]
    all_failed = all(outcome is not None and outcome.status == "failed" for outcome in ran)
    return all_failed and not any(map(is_report, kit.heard))


async def outcome_of(kit: Kit, check: Check) -> Outcome:
    """What comes of one check. What fails in it that is no outcome is a failure too."""
    began = time.monotonic()

    def outcome(status: Status, came: object = "", of: Check = check) -> Outcome:
        return Outcome(of, status, str(came), time.monotonic() - began)

    kit.under_way.add(check.name)
    try:
        async with asyncio.timeout(kit.options.patience + kit.options.grace + kit.soon(HUNG_SEC)):
            await check.run(kit)
    except Noted as noted:
        return outcome("noted", noted)
    except Skipped as skipped:
        return outcome("skipped", skipped)
    except (Closed, ClientError, ConnectionError) as lost:
        if await _is_there(kit):
            return outcome("failed", lost)
        if kit.gone:
            return outcome("skipped", kit.gone)
        kit.gone = "the worker had gone away"
        names = ", ".join(sorted(kit.under_way))
        gone = replace(check, expects=STAYS, mend=LOOK)
        return outcome("failed", f"the worker went away during {names}", gone)
    except Failed as failed:
        return outcome("failed", failed)
    except TimeoutError:
        return outcome("failed", "the worker keeps this check waiting for ever")
    except OSError as error:
        return outcome("failed", f"the worker could not be reached any more: {error}")
    except Exception as error:
        # One answer of a shape that nobody thought of must not cost the outcomes of all other checks.
        log.exception("%s", check.name)
        return outcome("failed", f"the check could not read what came ({type(error).__name__}: {error})")
    finally:
        kit.under_way.discard(check.name)
    return outcome("passed")


async def _is_there(kit: Kit) -> bool:
    """Whether a connection comes about, at once or a little later."""
    for pause in (0.0, GONE_SEC):
        await asyncio.sleep(0 if kit.gone else pause)
        with contextlib.suppress(ClientError):
            async with kit.wire():
                return True
    return False
