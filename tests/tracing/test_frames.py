"""Frames through a real loop, their spans at a real collector; a collector that is away, hangs or refuses."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from demo.processes import free_port
from siwatsystem.config import Settings, TracingSettings
from siwatsystem.errors import InvalidSetting
from siwatsystem.testing import FakeModel, until
from siwatsystem.tracing.opening import open_tracer
from siwatsystem.tracing.tracer import Taken, Tracer
from tests.security import watching
from tests.test_loops import CAR, Bench, play
from tests.tracing.collector import Told, collector


def traced(endpoint: str, ratio: float = 1.0, **more: Any) -> Tracer:
    tracer = open_tracer(TracingSettings(endpoint=endpoint, sample_ratio=ratio, **more))
    assert tracer is not None
    return tracer


def analyse(tracer: Tracer, count: int, answer: Any = (CAR,), on_deliver: Any = None) -> float:
    """Have a loop analyse that many frames, one after the other; how long it took."""
    took = 0.0

    async def scene(bench: Bench) -> None:
        nonlocal took
        if on_deliver is not None:
            bench.on_deliver = on_deliver
        bench.join("d;c")
        began = time.perf_counter()
        for number in range(1, count + 1):
            bench.source.show()
            await until(lambda number=number: bench.loop._last == number and not bench.loop._turn.held)
        took = time.perf_counter() - began

    play(scene, FakeModel(answer, ["Car"]), interval=0.001, tracer=tracer)
    return took


def taken(**more: Any) -> Taken:
    facts: dict[str, Any] = {
        "captured_at": time.time(),
        "monotonic": time.monotonic(),
        "sequence": 1,
        "source": "cam-1",
        "subscriptions": ["d;c"],
        "model": "1",
        "precision": "exact",
        "dropped_before": 0,
    }
    return Taken(**{**facts, **more})


def inside(span: Told, above: Told) -> bool:
    """Times travel as whole nanoseconds, made of seconds with some hundred of them."""
    return above.began - 1e-5 <= span.began <= span.ended <= above.ended + 1e-5


def test_every_frame_has_a_trace_with_its_way_in_it():
    def slow(_: Any) -> Any:
        time.sleep(0.03)
        return (CAR,)

    with collector() as there:
        tracer = traced(there.url, service_name="gate-3")
        analyse(tracer, 3, slow)
        tracer.close(5)
        roots = sorted(there.named("frame"), key=lambda span: span.attributes["siwat.sequence"])
        assert [root.attributes["siwat.sequence"] for root in roots] == [1, 2, 3]
        assert len({root.trace for root in roots}) == 3
        for root in roots:
            assert root.parent == ""
            assert root.service == "gate-3"
            assert root.error is None
            assert root.attributes["siwat.subscriptions"] == ["d;c"]
            assert root.attributes["siwat.source"].startswith("cam-")
            assert root.attributes["siwat.model"] == "1"
            assert root.attributes["siwat.precision"] == "exact"
            wait, analysis, deliver = sorted(there.below(root), key=lambda span: span.began)
            assert [wait.name, analysis.name, deliver.name] == ["wait", "analyse", "deliver"]
            (node,) = there.below(analysis)
            assert node.ended - node.began >= 0.03
            assert wait.began == root.began
            assert wait.ended <= analysis.began
            assert all(inside(span, root) for span in (wait, analysis, deliver))
            assert inside(node, analysis)
            assert abs(deliver.ended - root.ended) < 0.001
        assert len(there.spans) == 15
        assert there.paths == ["/v1/traces"] * len(there.paths)
        assert "rtsp" not in repr(there.spans)


def test_what_a_frame_waited_for_is_seen_and_the_wall_clock_does_not_count():
    with collector() as there:
        tracer = traced(there.url)
        frame = tracer.frame(taken(captured_at=1000.0, monotonic=time.monotonic() - 0.5, dropped_before=4))
        frame.finish()
        tracer.close(5)
        (root,), (wait,) = there.named("frame"), there.named("wait")
    assert root.began == wait.began == 1000.0
    assert 1000.5 <= wait.ended < 1010
    assert wait.ended <= root.ended
    assert root.attributes["siwat.dropped_before"] == 4


def test_what_fails_is_told_without_its_words():
    def fails(_: Any) -> Any:
        raise RuntimeError("rtsp://user:secret@camera")

    with collector() as there:
        tracer = traced(there.url)
        analyse(tracer, 1, fails)
        tracer.close(5)
        assert [span.error for span in (*there.named("frame"), *there.named("analyse"))] == [
            "RuntimeError"
        ] * 2
        assert "secret" not in repr(there.spans)


@pytest.mark.parametrize(("ratio", "least", "most"), [(0.0, 0, 0), (0.5, 20, 80), (1.0, 100, 100)])
def test_the_share_that_is_asked_for_is_sampled(ratio: float, least: int, most: int):
    with collector() as there:
        tracer = traced(there.url, ratio)
        analyse(tracer, 100)
        tracer.close(5)
        assert least <= len(there.named("frame")) <= most


@pytest.mark.parametrize("hangs", [False, True], ids=["dead", "hanging"])
def test_a_collector_that_takes_nothing_slows_no_frame_and_no_end(
    hangs: bool, caplog: pytest.LogCaptureFixture
):
    with collector() as there:
        there.held = hangs
        tracer = traced(there.url if hangs else f"http://127.0.0.1:{free_port()}")
        # More spans than wait for it at most.
        began = time.perf_counter()
        for _ in range(3000):
            tracer.frame(taken()).finish()
        assert time.perf_counter() - began < 3
        analyse(tracer, 20)
        time.sleep(3.5)
        began = time.perf_counter()
        tracer.close(0.5)
        assert time.perf_counter() - began < 1.5
    told = [record.getMessage() for record in caplog.records if record.name.startswith("siwatsystem.tracing")]
    assert len(told) == 1, told
    assert told[0].startswith("traces: 127.0.0.1:")


def test_a_collector_that_comes_back_is_told_and_has_what_waited(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    port = free_port()
    tracer = traced(f"http://127.0.0.1:{port}")
    tracer.frame(taken(sequence=1)).finish()
    deadline = time.monotonic() + 15
    while not caplog.records and time.monotonic() < deadline:
        time.sleep(0.05)
    with collector(port) as there:
        tracer.frame(taken(sequence=2)).finish()
        tracer.close(5)
        assert [span.attributes["siwat.sequence"] for span in there.named("frame")] == [2]
    said = [record.getMessage() for record in caplog.records if record.name.startswith("siwatsystem.tracing")]
    assert [" takes none: " in said[0], said[1:]] == [True, [f"traces: 127.0.0.1:{port} takes them again"]]


def test_headers_are_secrets_from_settings_or_files(tmp_path: Path):
    (tmp_path / "key").write_text("from-a-file\n")
    with collector() as there:
        more = {"headers": {"authorization": "Bearer abc"}, "header_files": {"x-key": tmp_path / "key"}}
        tracer = traced(f"{there.url}/there", **more)
        tracer.frame(taken()).finish()
        tracer.close(5)
        assert there.headers[0]["authorization"] == "Bearer abc"
        assert there.headers[0]["x-key"] == "from-a-file"
        assert there.paths[0] == "/there"
    assert "abc" not in repr(Settings(tracing=TracingSettings(endpoint="http://c", **more)))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"header_files": {"x": "/no/such"}}, "tracing.header_files.x: /no/such cannot be read"),
        ({"headers": {"x": "a\nb"}}, "tracing.headers.x: a header is one line of ASCII"),
    ],
)
def test_what_cannot_be_a_header_stops_the_start(more: dict[str, Any], words: str):
    with pytest.raises(InvalidSetting) as raised:
        traced("http://127.0.0.1:1", **more)
    assert raised.value.message.startswith(words)
    assert "a\nb" not in raised.value.message


@pytest.mark.parametrize(
    "endpoint", ["ftp://a", "http://user:secret@a", "http://a/?token=1", "collector:4318"]
)
def test_what_is_no_endpoint_is_refused(endpoint: str):
    with pytest.raises(ValueError, match="endpoint"):
        TracingSettings(endpoint=endpoint)


def run(script: str, python: str | Path = sys.executable, **env: str) -> str:
    found = subprocess.run(
        [python, "-c", script], env={**os.environ, **env}, capture_output=True, text=True, timeout=100
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_a_worker_without_an_endpoint_loads_nothing_of_it(tmp_path: Path):
    script = """
import sys
from starlette.testclient import TestClient
from siwatsystem.app import create_app
from siwatsystem.config import Settings
with TestClient(create_app(Settings(data_dir=sys.argv[0] and %r))) as client:
    client.get("/metrics")
named = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "siwatsystem.tracing.spans")
print([name for name in sys.modules if name.startswith(named)])
"""
    assert run(script % str(tmp_path)) == "[]"


def test_a_worker_that_lacks_the_packages_says_what_to_install(tmp_path: Path):
    script = """
import sys
sys.modules["opentelemetry.sdk"] = None
from siwatsystem.__main__ import main
sys.argv = ["siwat", "serve"]
main()
"""
    env = {
        "SIWAT_TRACING__ENDPOINT": "http://127.0.0.1:1",
        "SIWAT_DATA_DIR": str(tmp_path),
        "SIWAT_PORT": str(free_port()),
    }
    found = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **env}, capture_output=True, text=True, timeout=100
    )
    assert found.returncode != 0
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("siwat: tracing.endpoint is set, but OpenTelemetry is not installed: pip install")
    assert "Traceback" not in found.stderr


@pytest.mark.skipif(bool(watching.missing()), reason="nothing to watch with")
def test_only_the_endpoint_is_spoken_to(tmp_path: Path):
    """Neither a proxy of the environment, nor where the collector sends it, nor anybody else."""
    script = """
import sys, time
from siwatsystem.config import TracingSettings
from siwatsystem.tracing.opening import open_tracer
from siwatsystem.tracing.tracer import Taken
tracer = open_tracer(TracingSettings(endpoint=%r, sample_ratio=1))
tracer.frame(Taken(time.time(), time.monotonic(), 1, "cam-1", [], "1", "exact", 0)).finish()
tracer.close(5)
"""
    with collector() as there:
        there.redirect = "http://192.0.2.2:80/"
        proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://192.0.2.1:3128")
        run(script % there.url, watching.watched_python(tmp_path), **proxies)
        assert there.paths == ["/v1/traces"]
    assert watching.calls(tmp_path) > 0
    assert watching.reached(tmp_path) == []
