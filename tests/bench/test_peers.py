import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import peers_child
from bench.peers_child import Said, Served
from bench.peers_counting import Window, by_subscription, counted, kept, ratios

ROOT = Path(__file__).parents[2]


def test_counts_what_lies_in_the_window_its_end_left_out() -> None:
    assert counted([1.0, 2.0, 3.0, 4.0], 2.0, 4.0) == 2
    assert counted([], 0.0, 9.0) == 0


def test_rates_are_of_all_cameras_or_of_some() -> None:
    window = Window([10, 20, 30], 2.0, 1.5)
    assert (window.rate, window.rate_of([0, 2])) == (30.0, 20.0)
    assert window.cpu_ms == pytest.approx(25.0)
    assert Window([0, 0], 2.0, 1.5).cpu_ms is None


def test_kept_is_by_rate_and_of_those_cameras_alone() -> None:
    live, stalled = Window([10, 10, 10], 5.0, 1.0), Window([15, 21, 0], 10.0, 1.0)
    assert kept(live, stalled, [0, 1]) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="cannot lose"):
        kept(Window([0, 9], 1.0, 0.0), live, [0])


def test_ratios_are_by_repetition_and_not_of_nothing() -> None:
    ours, theirs = [Window([30], 1.0, 0.0), Window([20], 2.0, 0.0)], [Window([10], 1.0, 0.0)] * 2
    assert ratios(ours, theirs) == [3.0, 1.0]
    with pytest.raises(ValueError, match="too short"):
        ratios(ours, [theirs[0], Window([0], 5.0, 0.0)])


def test_a_subscription_without_a_sample_has_none() -> None:
    metrics = {'done_total{subscription="a;1"}': 7.0, 'done_total{subscription="b;1"}': 9.0, "other": 1.0}
    assert by_subscription(metrics, "done_total", "subscription", ["a;1", "c;1"]) == [7, 0]


def test_a_confined_process_reaches_this_machine_alone() -> None:
    code = "from bench.peers_child import confine; confine(); import socket\n"
    near = "s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())\n"
    far = "socket.getaddrinfo('example.invalid', 80)"
    ended = subprocess.run(
        [sys.executable, "-c", code + near + far], capture_output=True, text=True, cwd=ROOT
    )
    assert "refused: socket.getaddrinfo example.invalid" in ended.stderr
    assert "127.0.0.1" not in ended.stderr
    assert ended.returncode == 1


class Ticking:
    """A side whose cameras, but for the dead ones, give results as fast as they can."""

    def __init__(self, dead: Sequence[int] = (), error: str = "") -> None:
        self.about: dict[str, Any] = {}
        self._dead = dead
        self._error = error

    def run(self, urls: Sequence[str], said: Said, stop: threading.Event) -> None:
        while not stop.wait(0.001):
            if self._error:
                raise OSError(self._error)
            for camera in range(len(urls)):
                if camera not in self._dead:
                    said(camera)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(peers_child, "OPEN_SEC", 0.2)
    return


def test_a_side_is_open_once_every_camera_has_given_results() -> None:
    served = Served(Ticking())
    assert "opened" in served.answer({"do": "open", "urls": ["a", "b"]})
    times = served.answer({"do": "take"})["times"]
    assert [len(own) >= peers_child.SETTLED for own in times] == [True, True]
    assert times[0] == sorted(times[0])
    assert served.answer({"do": "close"}) == {"closed": True}
    taken = served.answer({"do": "take"})
    assert served.answer({"do": "take"}) == taken


def test_opened_again_it_counts_from_nothing() -> None:
    served = Served(Ticking())
    served.answer({"do": "open", "urls": ["a"]})
    served.answer({"do": "close"})
    first = served.answer({"do": "take"})["times"][0]
    served.answer({"do": "open", "urls": ["a"]})
    served.answer({"do": "close"})
    assert served.answer({"do": "take"})["times"][0][0] > first[-1]


@pytest.mark.usefixtures("impatient")
def test_a_camera_without_results_is_an_error() -> None:
    served = Served(Ticking(dead=[1]))
    assert "not every camera" in served.answer({"do": "open", "urls": ["a", "b"]})["error"]
    served.answer({"do": "close"})


@pytest.mark.usefixtures("impatient")
def test_why_a_side_has_ended_is_told() -> None:
    answer = Served(Ticking(error="no route")).answer({"do": "open", "urls": ["a"]})
    assert answer["error"] == "OSError: no route"


def test_an_unknown_command_is_an_error() -> None:
    assert "no such command" in Served(Ticking()).answer({"do": "dance"})["error"]
