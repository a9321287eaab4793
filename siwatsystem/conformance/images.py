"""Checks of the image route."""

import json

from siwatsystem.conformance import pattern
from siwatsystem.conformance.kit import FRESH, Kit
from siwatsystem.conformance.outcomes import Failed, Group, Noted
from siwatsystem.conformance.subscribing import CROP, crop_fields
from siwatsystem.frames import Image

GROUP = Group("image")
TALL, WIDE = CROP[3] - CROP[1], CROP[2] - CROP[0]


async def fetched(kit: Kit, name: str, query: str = "", *, encoded: bool = True) -> Image:
    """The picture. Raises Failed."""
    status, kind, body = await kit.image(name, query, encoded=encoded)
    if (status, kind.partition(";")[0]) != (200, "image/jpeg"):
        raise Failed(f"answered with {status} {kind}: {body[:200]!r}")
    found = pattern.decode(body)
    if found is None:
        raise Failed(f"{len(body)} bytes that are no JPEG")
    return found


@GROUP.check(
    "newest",
    expects=f"GET /camera/<display;camera>/image gives the newest frame as JPEG, {FRESH:.0f} s old at most",
    mend="encode the newest frame when it is asked for; the ; may be percent-encoded or not",
)
async def newest(kit: Kit) -> None:
    async with kit.watching() as (_, name):
        for encoded in (True, False):
            found = await fetched(kit, name, encoded=encoded)
            if found.shape != (pattern.SIZE, pattern.SIZE, 3):
                raise Failed(f"the frame has {pattern.SIZE} × {pattern.SIZE} pixels, the image {found.shape}")
            age = kit.stand.age_of(pattern.number_of(found))
            if age > kit.soon(FRESH):
                raise Failed(f"the picture is {age:.1f} s old")


@GROUP.check(
    "crop",
    expects="the image of a subscription with a crop shows the crop",
    mend="cut the crop out of the frame before it is encoded",
)
async def crop(kit: Kit) -> None:
    async with kit.watching(more=crop_fields()) as (_, name):
        found = await fetched(kit, name)
        if found.shape[:2] != (TALL, WIDE):
            tall, wide = found.shape[:2]
            raise Failed(f"the crop has {WIDE} × {TALL} pixels, the image {wide} × {tall}")


@GROUP.check(
    "unknown",
    expects="an unknown subscription is answered with 404 and JSON",
    mend="answer 404 where there is no such subscription, or no frame yet",
)
async def unknown(kit: Kit) -> None:
    async with kit.watching():
        status, kind, body = await kit.image("check-nobody;cam")
    if status != 404:
        raise Failed(f"answered with {status} {kind}")
    try:
        json.loads(body)
    except ValueError:
        raise Failed(f"404 with a body that is no JSON: {body[:200]!r}") from None


@GROUP.check(
    "options",
    expects="?full=1 ignores the crop and ?overlay=1 draws what was detected (extensions)",
    mend="read both options; a worker without them answers as if they were not there",
)
async def options(kit: Kit) -> None:
    async with kit.watching(more=crop_fields()) as (_, name):
        plain, drawn = await fetched(kit, name), await fetched(kit, name, "?overlay=1")
        whole = await fetched(kit, name, "?full=1")
        if whole.shape == plain.shape:
            raise Noted("full=1 changes nothing")
        if whole.shape[:2] != (pattern.SIZE, pattern.SIZE) or drawn.shape != plain.shape:
            raise Failed(f"full=1 gave {whole.shape}, overlay=1 gave {drawn.shape}")
