"""Checks of sessions and of patches, in both directions."""

import asyncio

from siwatsystem.conformance.kit import REPORT, Kit, is_detection
from siwatsystem.conformance.outcomes import Failed, Group, Noted, Skipped
from siwatsystem.conformance.wire import Arrived, Test, Wire
from siwatsystem.messages import CURRENT_CAR_KEYS

AWAY_SEC = 1.6
"""Long enough for several frames at 2 a second, shorter than any grace."""

GROUP = Group("session")


def display_of(identifier: str) -> str:
    return identifier.partition(";")[0]


async def set_session(wire: Wire, identifier: str, session: int | str | None) -> None:
    payload = {"displayIdentifier": display_of(identifier), "sessionId": session}
    await wire.send({"type": "setSessionId", "payload": payload})


def is_patch(session: object) -> Test:
    def test(message: Arrived) -> bool:
        return message.type == "patchSession" and str(message.value.get("sessionId")) == str(session)

    return test


@GROUP.check(
    "in-detections",
    expects="detections of a display in a session carry its sessionId (extension), and none after null",
    mend="keep sessions by display; a number may come back as a number or as text",
)
async def in_detections(kit: Kit) -> None:
    async with kit.watching() as (wire, identifier):
        await set_session(wire, identifier, 471100)
        carries = await wire.wait(
            lambda seen: is_detection(identifier)(seen) and "sessionId" in seen.value, kit.soon(5)
        )
        if carries is None:
            await kit.detection(wire, identifier)
            raise Noted("detections carry no sessionId")
        if str(carries.value["sessionId"]) != "471100":
            raise Failed(f"the session is 471100, the detection says {carries.value['sessionId']!r}")
        await set_session(wire, identifier, None)
        without = await wire.wait(
            lambda seen: is_detection(identifier)(seen) and seen.value.get("sessionId") is None, kit.soon(5)
        )
        if without is None:
            raise Failed("detections still carry a sessionId after setSessionId null")


@GROUP.check(
    "patch-answered",
    expects="patchSession is answered with patchSessionResult: sessionId, success true, message",
    mend="merge the patch into the worker's copy of the session, and answer it whatever came of that",
)
async def patch_answered(kit: Kit) -> None:
    async with kit.wire() as wire:
        for session in (471101, f"check-{kit.run}"):
            data = {"currentCar": {"carBrand": "Honda", "carYear": 2021}, "qrCode": None}
            await wire.send({"type": "patchSession", "sessionId": session, "data": data})
            answer = await wire.need(
                lambda message: message.type == "patchSessionResult", kit.soon(REPORT), "a patchSessionResult"
            )
            payload = answer.object("payload")
            if str(payload.get("sessionId")) != str(session) or payload.get("success") is not True:
                raise Failed(f"session {session} was answered with {answer.text[:300]}")


async def _missed(kit: Kit, identifier: str, camera: str, session: int) -> None:
    """Detections of a session that nobody hears: the backend leaves, and the worker goes on seeing."""
    async with kit.wire() as wire:
        await set_session(wire, identifier, session)
        await kit.subscribe(wire, identifier, camera)
        await kit.online(wire, identifier, since=0)
        await kit.detection(wire, identifier, since=0)
    await asyncio.sleep(AWAY_SEC)


async def _back(kit: Kit, wire: Wire, identifier: str, camera: str, session: int, what: str) -> Arrived:
    await kit.subscribe(wire, identifier, camera)
    patch = await wire.wait(is_patch(session), kit.soon(5), since=0)
    if patch is None and kit.options.model_url is not None:
        raise Skipped("only of the kit's own archive is known that there is something to patch")
    if patch is None:
        raise Failed(f"{what}: no patchSession within {kit.soon(5):.0f} s; {wire.came(0)}")
    return patch


async def _answered(wire: Wire, patch: Arrived) -> None:
    payload = {"sessionId": patch.value.get("sessionId"), "success": True, "message": "check"}
    await wire.send({"type": "patchSessionResult", "payload": payload})


@GROUP.check(
    "patch-sent",
    expects="what was seen in a session while no backend was connected comes as patchSession afterwards",
    mend="keep what could not be told, by session, and send it to who subscribes the display",
)
async def patch_sent(kit: Kit) -> None:
    identifier, camera = kit.name(), kit.camera()
    await _missed(kit, identifier, camera, 471102)
    async with kit.wire() as wire:
        patch = await _back(kit, wire, identifier, camera, 471102, "back after the connection was closed")
        await _answered(wire, patch)
        data, car = patch.object("data"), patch.object("data", "currentCar")
        if set(data) != {"currentCar"} or not car or not set(car) <= CURRENT_CAR_KEYS:
            raise Failed(f"only keys of currentCar belong in it: {patch.text[:300]}")
        await kit.unsubscribe(wire, identifier)


@GROUP.check(
    "patch-repeated",
    expects="a patch whose connection is lost before the backend answered is sent again",
    mend="forget a patch when patchSessionResult has come, not when it was sent",
)
async def patch_repeated(kit: Kit) -> None:
    identifier, camera = kit.name(), kit.camera()
    await _missed(kit, identifier, camera, 471103)
    async with kit.wire() as wire:
        try:
            await _back(kit, wire, identifier, camera, 471103, "first")
        except Failed:
            raise Skipped("no patch came in the first place (session.patch-sent)") from None
    async with kit.wire() as wire:
        patch = await _back(kit, wire, identifier, camera, 471103, "not answered, lost, and back again")
        await _answered(wire, patch)
        await kit.unsubscribe(wire, identifier)
