"""The way of real frames, from the camera to the databases, as a collector sees it."""

import time
from pathlib import Path

import pytest

from tests.acceptance.archives import Shelf
from tests.acceptance.conftest import Station
from tests.acceptance.worker import worker
from tests.servers import until
from tests.tracing.collector import Told, collector

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(400)]
NODES = {"car_frontal_detection", "car_brand_classification", "car_bodytype_classification"}
ACTIONS = {"action redis_save_image", "action redis_publish", "action postgresql_update_combined"}


def test_a_frame_is_followed_from_its_capture_to_the_databases(
    tmp_path: Path, station: Station, archives: Shelf
):
    with collector() as there:
        env = {"SIWAT_TRACING__ENDPOINT": there.url, "SIWAT_TRACING__SAMPLE_RATIO": "1"}
        with worker(tmp_path / "data", **env) as running, running.backend() as backend:
            address = station.camera(0).replace("rtsp://", "rtsp://user:hunter2@")
            backend.subscribe("d;c", rtsp_url=address, model_url=archives.url("demo.mpta"))
            until(lambda: {span.name for span in there.spans} >= ACTIONS, timeout=240)
            event = next(span for span in there.named("action postgresql_update_combined"))
            until(lambda: [span for span in there.named("frame") if span.trace == event.trace])
            time.sleep(0.2)  # the rest of that batch
            # What is under way when the collector stops answering holds up nothing at the end.
            there.held = True
            time.sleep(1)
            began = time.monotonic()
            status = running.process.stop(20)
            took = time.monotonic() - began
    assert status == 0
    assert took < 7 * 3
    followed(there.spans, event)
    assert "hunter2" not in repr(there.spans)
    assert "rtsp:" not in repr(there.spans)
    lines = (tmp_path / "data" / "worker.log").read_text().splitlines()
    assert len([line for line in lines if "traces: " in line]) <= 1


def followed(spans: list[Told], event: Told) -> None:
    """The frame that an action came of."""
    (root,) = (span for span in spans if span.trace == event.trace and span.name == "frame")
    below = [span for span in spans if span.parent == root.number]
    assert {span.name for span in below} >= {"wait", "analyse", "deliver", "outbox", event.name}
    (analysis,) = (span for span in below if span.name == "analyse")
    nodes = [span for span in spans if span.parent == analysis.number]
    assert {node.name for node in nodes} == NODES
    assert all(analysis.began - 1e-5 <= node.began <= node.ended <= analysis.ended + 1e-5 for node in nodes)
    first = min(nodes, key=lambda node: node.began)
    assert first.name == "car_frontal_detection"
    assert all(node.began >= first.ended - 1e-5 for node in nodes if node is not first)
    (box,) = (span for span in below if span.name == "outbox")
    assert analysis.began < box.began < analysis.ended
    assert event.began >= box.began
    assert event.attributes["siwat.server"] == "embedded postgresql"
    assert event.error is None
