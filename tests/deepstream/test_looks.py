"""Paths that clients name on a drive that does not answer."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from siwatsystem.deepstream import media, service
from siwatsystem.deepstream.looks import Looks
from tests.deepstream.site import site


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder that is never told about."""
    back = threading.Event()
    look = media.Media.folder

    def hang(self: media.Media, path: str, output_dir: str):
        back.wait(60 if path == "/away" else 0)
        return look(self, path, output_dir)

    monkeypatch.setattr(media.Media, "folder", hang)
    yield "/away"
    back.set()


def test_a_drive_that_is_away_costs_only_who_names_it(
    tmp_path: Path, away: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(service, "LOOK_SEC", 0.03)
    began = time.monotonic()
    with site(tmp_path) as one:
        application: Any = one.http.app
        application.state.service.config_looks = Looks(1, 20)  # the launch has its time
        body = {"camera_id": 1, "type": "fileset", "path": away}
        for _ in range(service.LOOKS + 40):  # more than the event loop's own threads
            answer = one.post("/analysis/start", body)
            assert (answer.status_code, answer.json()["message"]) == (
                503,
                "/away could not be looked at in time",
            )
        one.launch()
        assert one.get("/processes/proc_one/logs").status_code == 200
    assert time.monotonic() - began < 45  # its end waits for none of them either


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_look_waits_for_its_turn_and_gives_what_it_found_or_why_not(anyio_backend: str):
    looks = Looks(1, 0.3)
    assert await looks.at(lambda number: number + 1, 2) == 3
    with pytest.raises(ValueError, match="no number"):
        await looks.at(_fail)
    back = threading.Event()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await looks.at(back.wait, 60)
    back.set()
    assert await looks.at(lambda: "free again") == "free again"


def _fail() -> None:
    raise ValueError("no number")
