"""Checks of what a worker makes of messages that are wrong."""

import json
from typing import Any

from siwatsystem.conformance.kit import REPORT, SOON, Kit, is_error, is_report
from siwatsystem.conformance.outcomes import Failed, Group, Noted
from siwatsystem.conformance.wire import Arrived, Wire

GROUP = Group("messages")

STAYS = "what a message says never closes a connection; as an extension it is answered with error, code "
MEND = "catch what goes wrong with one message where it is read, tell it as error, and go on reading"

WRONG: dict[str, tuple[str | bytes, str, str]] = {
    "not-json": ("{", "invalid_json", "text that is no JSON"),
    "binary": (b"\x00\xff\xfe", "invalid_json", "a binary frame"),
    "not-an-object": ("[1, 2]", "invalid_message", "JSON that is no object"),
    "no-type": ('{"payload": {}}', "invalid_message", "a message without type"),
    "unknown-type": ('{"type": "checkIfUnknown"}', "unknown_type", "a type that does not exist"),
    "missing-field": (
        '{"type": "subscribe", "payload": {"subscriptionIdentifier": "check;none"}}',
        "invalid_message",
        "a subscribe without its addresses",
    ),
    "wrong-kind": (
        '{"type": "setSessionId", "payload": {"displayIdentifier": ["check"], "sessionId": {}}}',
        "invalid_message",
        "fields of the wrong kind",
    ),
    "no-payload": ('{"type": "unsubscribe"}', "invalid_message", "an unsubscribe without payload"),
}
"""What is sent, the code that answers it, and what it is called."""


async def refused(kit: Kit, wire: Wire, message: str | bytes | dict[str, Any], *codes: str) -> None:
    """That the message leaves the connection open. Raises Failed; Noted where no `error` answers it."""
    since = wire.mark()
    await wire.send(message)
    answer = await wire.wait(is_error(), kit.soon(SOON), since)
    await stays_open(kit, wire)
    if answer is None:
        raise Noted("the connection stays open, but no error says what was wrong")
    if answer.value.get("code") not in codes:
        raise Failed(f"answered with code {answer.value.get('code')!r}: {answer.text[:300]}")


async def stays_open(kit: Kit, wire: Wire) -> Arrived:
    """A report that came afterwards. Raises Failed."""
    await wire.send({"type": "requestState"})
    return await wire.need(is_report, REPORT + kit.soon(SOON), "a stateReport afterwards")


def _register(name: str, message: str | bytes, code: str, called: str) -> None:
    async def run(kit: Kit) -> None:
        async with kit.wire() as wire:
            await wire.wait(is_report, kit.soon(REPORT), since=0)
            await refused(kit, wire, message, code)

    GROUP.check(name, expects=f"{called}: {STAYS}{code}", mend=MEND)(run)


for _name, (_message, _code, _called) in WRONG.items():
    _register(_name, _message, _code, _called)


@GROUP.check(
    "unknown-keys",
    expects="keys that the worker does not know are ignored",
    mend="ignore keys that are not in the protocol: newer backends may send them",
)
async def unknown_keys(kit: Kit) -> None:
    async with kit.wire() as wire:
        await wire.wait(is_report, kit.soon(REPORT), since=0)
        since = wire.mark()
        await wire.send(json.dumps({"type": "requestState", "checkOfTomorrow": {"a": [1]}, "id": None}))
        await wire.need(is_report, REPORT + kit.soon(SOON), "a stateReport", since)
        if told := wire.find(is_error(), since):
            raise Failed(f"answered with {told[0].text[:300]}")
