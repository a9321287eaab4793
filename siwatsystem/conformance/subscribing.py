"""Checks of `subscribe`, `unsubscribe` and what they bring."""

import asyncio
import re
import time
from datetime import UTC, datetime
from typing import Any

from siwatsystem.conformance.kit import (
    CLOSING,
    FRESH,
    REPORT,
    SOON,
    Kit,
    is_box,
    is_detection,
    is_error,
    is_report,
    lacks,
    lists,
)
from siwatsystem.conformance.outcomes import Failed, Group, Noted, Skipped
from siwatsystem.conformance.refusals import stays_open

CROP = (32, 48, 288, 272)
CROP_KEYS = ("cropX1", "cropY1", "cropX2", "cropY2")
SNAPSHOT_MS = 300
QUIET_SEC = 2.0
CLOCKS_SEC = 120.0
"""How far two machines' clocks may be apart; a time zone is more."""

GROUP = Group("subscribe")
ENDING = Group("unsubscribe")


def crop_fields() -> dict[str, int]:
    return dict(zip(CROP_KEYS, CROP, strict=True))


@GROUP.check(
    "acknowledged",
    expects="a stateReport lists the subscription at once, as subscribed and offline while its camera is",
    mend="send a stateReport whenever the set of connections changes; offline ones belong in it too",
)
async def acknowledged(kit: Kit) -> None:
    identifier, camera = kit.name(), kit.camera()
    async with kit.wire() as wire:
        await wire.wait(is_report, kit.soon(REPORT), since=0)
        await kit.subscribe(wire, identifier, camera, rtspUrl=kit.stand.dead(camera))
        # Right after a report, so that the timer's next one does not count as the acknowledgement.
        soon = min(kit.soon(SOON), REPORT * 0.8)
        report = await wire.need(lists(identifier), soon, f"a stateReport with {identifier}")
        entries, asked = report.cameras(identifier), kit.payload(identifier, camera)
        if len(entries) != 1:
            raise Failed(f"listed {len(entries)} times: {report.text[:300]}")
        wrong = [key for key in ("modelId", "modelName") if entries[0].get(key) != asked[key]]
        wrong += [key for key in CROP_KEYS if entries[0].get(key) is not None]
        wrong += ["online"] if entries[0].get("online") is not False else []
        if wrong:
            raise Failed(f"{', '.join(wrong)} not as subscribed: {entries[0]}")
        await kit.unsubscribe(wire, identifier)


@GROUP.check(
    "online",
    expects="online turns true once the camera delivers and the archive is loaded",
    mend="report a change of online at once; what keeps it offline is told as error",
)
async def online(kit: Kit) -> None:
    async with kit.watching():
        pass


@GROUP.check(
    "detections",
    expects=f"what is seen comes as imageDetection, of a frame not older than {FRESH:.0f} s",
    mend="analyse the newest frame, and send what was seen when it was seen",
)
async def detections(kit: Kit) -> None:
    async with kit.watching() as (wire, identifier):
        await kit.detection(wire, identifier, since=0)
        seen = await kit.detection(wire, identifier)
        data = seen.object("data")
        asked = kit.payload(identifier, "")
        wrong = [key for key in ("modelId", "modelName") if data.get(key) != asked[key]]
        if wrong:
            raise Failed(f"data.{' and data.'.join(wrong)} not as subscribed: {seen.text[:300]}")
        age = kit.age(seen)
        if age is None:
            if kit.options.model_url is not None:
                raise Skipped("how old the frame is can only be read from the kit's own archive")
            raise Failed(f"the attribute carBrand with the number of the picture is missing: {seen.text}")
        if age > kit.soon(FRESH):
            raise Failed(f"the frame was {age:.1f} s old when its detection came")


@GROUP.check(
    "timestamp",
    expects="timestamp is when the frame was captured, in UTC",
    mend="write UTC with a Z, not local time; the clocks of both machines should be kept by NTP",
)
async def timestamp(kit: Kit) -> None:
    async with kit.watching() as (wire, identifier):
        seen = await kit.detection(wire, identifier, since=0)
    text = str(seen.value.get("timestamp"))
    if not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text):
        raise Failed(f"timestamp is {text!r}")
    try:
        captured = datetime.fromisoformat(text)
    except ValueError:
        raise Failed(f"timestamp {text!r} is no time that there is") from None
    now = datetime.fromtimestamp(time.time() - (time.monotonic() - seen.at), UTC)
    away = (now - captured.replace(tzinfo=captured.tzinfo or UTC)).total_seconds()
    if abs(away) > CLOCKS_SEC:
        raise Failed(f"timestamp {text} is {away:.0f} s before it came, at {now:%Y-%m-%dT%H:%M:%S}Z")


@GROUP.check(
    "replaced",
    expects="the same identifier again replaces the subscription; what did not change is not restarted",
    mend="compare what is wanted with what runs, and keep the camera's reader where its address is the same",
)
async def replaced(kit: Kit) -> None:
    camera = kit.camera()
    async with kit.watching(camera) as (wire, identifier):
        opened = kit.stand.asked(camera).opened
        await kit.subscribe(wire, identifier, camera, modelName="Conformance again")

        def renamed(message: Any) -> bool:
            return [one.get("modelName") for one in message.cameras(identifier)] == ["Conformance again"]

        await wire.need(renamed, kit.soon(REPORT), "a stateReport with the new modelName, once")
        await asyncio.sleep(1)
        if kit.stand.asked(camera).opened != opened:
            raise Failed("the camera, whose address stayed the same, was opened anew")


@GROUP.check(
    "other-camera",
    expects="replaced by another camera, the subscription sees that one, and the first one is left",
    mend="when the address of a subscription changes, open the new source and close the old one",
)
async def other_camera(kit: Kit) -> None:
    before, after = kit.camera(), kit.camera()
    async with kit.watching(before) as (wire, identifier):
        await kit.subscribe(wire, identifier, after)
        deadline = time.monotonic() + kit.soon(CLOSING)
        while not kit.stand.asked(after).opened:
            if time.monotonic() > deadline:
                raise Failed("the new camera was not opened")
            await asyncio.sleep(0.05)
        await kit.until_left(before, kit.soon(CLOSING))


@GROUP.check(
    "snapshot",
    expects=f"snapshotUrl with snapshotInterval wins over rtspUrl, and is fetched every {SNAPSHOT_MS} ms",
    mend="fetch snapshots at their interval, and open rtspUrl only where there is no snapshotUrl",
)
async def snapshot(kit: Kit) -> None:
    camera = kit.camera()
    more = {"snapshots": SNAPSHOT_MS, "rtspUrl": kit.stand.video(camera)}
    async with kit.watching(camera, more) as (wire, identifier):
        await kit.seen(wire, identifier, since=0)
        before = len(kit.stand.asked(camera).snapshots)
        await asyncio.sleep(3)
        asked = kit.stand.asked(camera)
        count, due = len(asked.snapshots) - before, 3000 / SNAPSHOT_MS
        if asked.opened:
            raise Failed("rtspUrl was opened although there is a snapshotUrl")
        if not due / (2 * kit.options.slack) <= count <= due * 1.5 + 1:
            raise Failed(f"{count} snapshots were fetched in 3 s, where {due:.0f} are due")


@GROUP.check(
    "crop",
    expects="a crop is in the stateReport as subscribed, and a boundingBox is in pixels of the whole frame",
    mend="report cropX1 to cropY2 where they were subscribed, and add the crop's corner to every box",
)
async def crop(kit: Kit) -> None:
    async with kit.watching(more=crop_fields()) as (wire, identifier):
        entry = wire.find(lists(identifier))[-1].camera(identifier) or {}
        if tuple(entry.get(key) for key in CROP_KEYS) != CROP:
            raise Failed(f"subscribed with {crop_fields()}, reported: {entry}")
        seen = await kit.seen(wire, identifier, since=0)
        if seen is None:
            return
        box = seen.object("data").get("boundingBox")
        if box is None:
            raise Noted("the crop is reported; boundingBox, an extension, is not sent")
        if not is_box(box):
            raise Failed(f"boundingBox {box} is not x1, y1, x2, y2")
        x1, y1, x2, y2 = CROP
        if not (x1 - 1 <= box[0] < box[2] <= x2 + 1 and y1 - 1 <= box[1] < box[3] <= y2 + 1):
            raise Failed(f"boundingBox {box} is not inside the crop {CROP}")


@GROUP.check(
    "bad-crops",
    expects="a crop with three edges, an empty one, or one of text is refused, and nothing is subscribed",
    mend="validate the whole payload before anything is changed",
)
async def bad_crops(kit: Kit) -> None:
    wrong: tuple[dict[str, object], ...] = (
        {"cropX1": 0, "cropY1": 0, "cropX2": 100},
        {"cropX1": 100, "cropY1": 0, "cropX2": 100, "cropY2": 50},
        {"cropX1": "left", "cropY1": 0, "cropX2": 100, "cropY2": 50},
    )
    told = 0
    async with kit.wire() as wire:
        await wire.wait(is_report, kit.soon(REPORT), since=0)
        for fields in wrong:
            identifier, since = kit.name(), wire.mark()
            await kit.subscribe(wire, identifier, kit.camera(), **fields)
            told += await wire.wait(is_error(), kit.soon(SOON)) is not None
            await stays_open(kit, wire)
            if wire.find(lists(identifier), since):
                raise Failed(f"subscribed with {fields}")
    if not told:
        raise Noted("refused, but no error says what was wrong")


@ENDING.check(
    "holds-at-once",
    expects="after unsubscribe the next stateReport lacks it, and nothing more is sent for it",
    mend="forget what waits to be sent, and throw away what is still being analysed",
)
async def holds(kit: Kit) -> None:
    async with kit.watching() as (wire, identifier):
        since = wire.mark()
        await kit.unsubscribe(wire, identifier)
        report = await wire.need(lacks(identifier), kit.soon(REPORT), "a stateReport without it", since)
        await asyncio.sleep(QUIET_SEC)
        late = [one for one in wire.find(is_detection(identifier)) if one.at > report.at]
        if late:
            raise Failed(f"{len(late)} detections came after the stateReport without it")


@ENDING.check(
    "camera-left",
    expects=f"a camera that nobody is subscribed to is left within {CLOSING:.0f} s",
    mend="count the users of a source, and close it with the last one",
)
async def camera_left(kit: Kit) -> None:
    camera = kit.camera()
    async with kit.watching(camera) as (wire, identifier):
        await kit.unsubscribe(wire, identifier)
        await wire.need(lacks(identifier), kit.soon(REPORT), f"a stateReport without {identifier}")
        await kit.until_left(camera, kit.soon(CLOSING))


@ENDING.check(
    "unknown",
    expects="an unknown identifier changes nothing; as an extension it is answered with unknown_subscription",
    mend="look the identifier up among the connection's own subscriptions, and tell where it is not there",
)
async def unknown(kit: Kit) -> None:
    async with kit.watching() as (wire, identifier):
        since = wire.mark()
        await kit.unsubscribe(wire, "check-nobody;cam")
        answer = await wire.wait(is_error(), kit.soon(SOON), since)
        report = await stays_open(kit, wire)
        if report.camera(identifier) is None:
            raise Failed(f"{identifier}, which was not named, is gone")
        if answer is None:
            raise Noted("nothing else changes, but no error answers it")
        if answer.value.get("code") != "unknown_subscription":
            raise Failed(f"answered with {answer.text[:300]}")
