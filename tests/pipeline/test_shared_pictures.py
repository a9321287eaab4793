"""A picture that several subscriptions save is encoded once, and stored for each of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from siwatsystem.actions import build
from siwatsystem.frames import Frame, Image
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.testing import FakeModel
from siwatsystem.views import View
from tests.scripted import CAR, CONTEXT, FRONTAL, PICTURE, Bench, root

TEN = [f"display-{number}" for number in range(10)]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shape and quality of every picture that the encoder is given."""
    found: list[tuple[int, ...]] = []
    encode = build.encode_jpeg

    def counted(image: Image, quality: int) -> bytes:
        found.append((*image.shape, quality))
        return encode(image, quality)

    monkeypatch.setattr(build, "encode_jpeg", counted)
    return found


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def save(region: str | None, **more: Any) -> dict[str, Any]:
    return {"type": "redis_save_image", "key": "{display_id}:{class}", "region": region, **more}


def keys_and_pictures(threads: ThreadPoolExecutor, *actions: dict[str, Any]) -> list[tuple[str, bytes]]:
    """What ten subscriptions of one frame have stored."""
    bench = Bench(threads)
    node = root(actions=list(actions), triggerClasses=["Car", "Frontal"], multiClass=True)
    pipeline = bench.pipeline(node, {"root": FakeModel((CAR, FRONTAL), ["Car", "Frontal"])})
    frame = Frame(PICTURE, captured_at=CONTEXT.captured_at, monotonic=0.0)
    for display in TEN:
        context = replace(CONTEXT, display_id=display, camera_id=f"{display};c")
        pipeline.run(View(frame), context, state=PipelineState())
    return [
        (job.payload["key"], job.blob())
        for job in bench.outbox.jobs
        if job.kind == "redis_save_image" and callable(job.blob)
    ]


def test_ten_subscriptions_save_one_picture_under_ten_keys(
    threads: ThreadPoolExecutor, encoded: list[tuple[int, ...]]
) -> None:
    stored = keys_and_pictures(threads, save("Frontal"))
    assert sorted({key.partition(":")[0] for key, _ in stored}) == sorted(TEN)
    assert len(stored) == 10
    assert len({data for _, data in stored}) == 1
    assert len(encoded) == 1


def test_other_regions_and_qualities_are_other_pictures(
    threads: ThreadPoolExecutor, encoded: list[tuple[int, ...]]
) -> None:
    stored = keys_and_pictures(
        threads,
        save("Frontal"),
        save("Frontal", quality=50),
        save("Car"),
        save(None),
        save("Car", format="png"),
    )
    assert len(stored) == 50
    assert len({data for _, data in stored}) == 5
    assert sorted(quality for *_, quality in encoded) == [50, 90, 90, 90]


def test_nothing_is_encoded_before_the_outbox_writes_it(
    threads: ThreadPoolExecutor, encoded: list[tuple[int, ...]]
) -> None:
    bench = Bench(threads)
    pipeline = bench.pipeline(root(actions=[save("Car")]), {"root": FakeModel((CAR,), ["Car"])})
    pipeline.run(PICTURE, CONTEXT)
    assert encoded == []
    (job,) = bench.outbox.jobs
    assert callable(job.blob)
    assert job.blob() == job.blob()
    assert len(encoded) == 1
