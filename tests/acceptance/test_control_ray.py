"""The whole service on a cluster: real analysis apps on its nodes, one of which dies in the middle."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.control import alive
from tests.analysis.scripted_server import config_in, environment, lines_of
from tests.cameras import film
from tests.deepstream.ray_nodes import Nodes, RayServer, cluster

pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.xdist_group("ray")]

FILES, FRAMES = 6, 200
PATIENCE_SEC = 150


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    told = environment(tmp_path / "data")
    settings = {name: value for name, value in told.items() if name.startswith("SIWAT_")}
    with cluster({"num_cpus": 1}, settings=settings) as made:
        yield made


def test_every_video_is_analysed_once_though_a_node_dies(nodes: Nodes, tmp_path: Path):
    config = config_in(tmp_path, tracking="file")
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for number in range(FILES):
        film(videos / f"{number}.mp4", FRAMES)
    chosen = {
        "SIWAT_CONTROL__LAUNCHER": "ray",
        "SIWAT_CONTROL__RAY_ADDRESS": nodes.address,
        "SIWAT_CONTROL__RAY_TOKEN_FILE": str(nodes.token_file),
        "SIWAT_CONTROL_TOKEN": "a-token-for-clients",
    }
    server = RayServer(tmp_path, 0.3, chosen)
    try:
        launched = server.place({"config_path": str(config), "instance_id": "one"})
        assert launched["success"], launched
        server.until(lambda: server.get("/instances/one")["ws_status"] == "connected", PATIENCE_SEC)
        nodes.add(num_cpus=1)
        body = {"request_id": "r", "camera_id": 7, "type": "fileset", "path": str(videos), "name": "Gate"}
        server.post("/analysis/start", {**body, "output_dir": str(out)})
        server.until(lambda: server.counts()["done"] >= 2, PATIENCE_SEC)
        nodes.kill(1)
        server.until(lambda: not alive(launched["host_pid"]), 20)
        server.until(server.done, PATIENCE_SEC)
        assert server.counts()["done"] == FILES
        results = sorted(out.glob("*.jsonl"))
        assert len(results) == FILES
        for path in results:
            assert [line["frame"] for line in lines_of(path)] == list(range(FRAMES)), path
        moved = server.get("/processes/proc_one")
        assert moved["host_pid"] not in (None, launched["host_pid"])
        said = server.get("/processes/proc_one/logs?lines=1000")["log_content"]
        assert "its node has died" in said
        server.post("/instances/one/terminate")
        server.until(lambda: not alive(moved["host_pid"]), 30)
    finally:
        server.process.stop(30)
    assert list(nodes.home.iterdir()) == []
