"""Readers that hang where no cutoff reaches, or die, and a watchdog that does."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from siwatsystem.config import SupervisionSettings
from siwatsystem.errors import StreamUnreachable
from siwatsystem.streams import pool as pool_module
from siwatsystem.streams.capture import Capture
from siwatsystem.streams.ending import MOST
from siwatsystem.streams.pool import Source, SourcePool
from siwatsystem.streams.reader import Opening, Picture
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.supervision import Failure, Supervisor
from tests.cameras import camera_settings, reader_threads
from tests.servers import until

pytestmark = pytest.mark.xdist_group("streams")

SPEC = SourceSpec("rtsp://127.0.0.1/never-opened")


class Camera:
    """Opens readers that show pictures, hang in a system call until they are let go, or end their thread."""

    def __init__(self) -> None:
        self.does = "show"
        self.where = "read"
        self.opened = 0
        self.woken = 0
        self._ends = os.pipe()

    def __call__(self, opening: Opening) -> "Camera":
        self.opened += 1
        if self.where == "open":
            self._misbehave()
        return self

    def read(self) -> Picture | None:
        time.sleep(0.02)
        if self.where == "read":
            self._misbehave()
        return Picture(np.zeros((2, 2, 3), np.uint8), time.time(), time.monotonic())

    def close(self) -> None:
        if self.where == "close":
            self._misbehave()

    def let_go(self, count: int = 1) -> None:
        """Wake so many that hang."""
        os.write(self._ends[1], b"x" * count)

    def end(self) -> None:
        self.does = "show"
        self.let_go(100)

    def _misbehave(self) -> None:
        if self.does == "die":
            raise SystemExit
        if self.does == "hang":
            os.read(self._ends[0], 1)
            self.woken += 1


class Site:
    """A pool that a real supervisor watches."""

    def __init__(self, camera: Camera, restarts: int = 3, window_sec: float = 600.0, **values: Any) -> None:
        supervision = SupervisionSettings(restarts=restarts, window_sec=window_sec, reader_stuck_sec=0.3)
        settings = camera_settings(stale_after_sec=0.5, supervision=supervision, **values)
        self.camera = camera
        self.failures: list[Failure] = []
        self.told: list[tuple[bool, str | None]] = []
        self.supervisor = Supervisor(supervision, self.failures.append)
        self.pool = SourcePool(settings, self._note, camera, watch=self.supervisor.watch)
        self.supervisor.start()

    def _note(self, source: Source) -> None:
        self.told.append((source.online, source.error and source.error.code))

    def close(self) -> None:
        self.camera.end()
        self.pool.close(10)
        self.supervisor.close()


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**values: Any) -> Site:
        made.append(Site(Camera(), **values))
        return made[-1]

    yield make
    for one in made:
        one.close()
    until(lambda: not reader_threads(), 10)


def hanging() -> float:
    return REGISTRY.get_sample_value("siwat_hanging_readers") or 0.0


@pytest.mark.parametrize("where", ["open", "read", "close"])
def test_a_reader_that_hangs_in_native_code_is_replaced(site: Callable[..., Site], where: str) -> None:
    here = site(streams={"connect_timeout_sec": 0.1, "read_timeout_sec": 0.1})
    source = here.pool.acquire(SPEC)
    until(lambda: source.online)
    seen: list[int] = []
    source.add_listener(lambda: seen.append(source.frames))
    decoding = source.decoding
    here.camera.where, here.camera.does = where, "hang"
    if where != "read":
        # What is open goes on; it is cut as the watchdog would.
        here.pool._shared[SPEC].capture._cutoff.cut("lost")  # pyright: ignore[reportPrivateUsage]
    until(lambda: not source.online, 10)
    until(lambda: len(reader_threads()) == 2, 20)
    here.camera.does = "show"
    until(lambda: source.online, 20)
    assert here.pool.acquire(SPEC) is source
    assert source.decoding is not decoding
    assert source.error is None
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    assert not here.failures
    until(lambda: hanging() >= 1, 20)
    here.camera.let_go(5)
    until(lambda: len(reader_threads()) == 1)
    until(lambda: hanging() == 0)


def test_what_a_reader_that_was_given_up_still_delivers_is_thrown_away(site: Callable[..., Site]) -> None:
    here = site()
    source = here.pool.acquire(SPEC)
    until(lambda: source.online)
    old = here.pool._shared[SPEC].capture  # pyright: ignore[reportPrivateUsage]
    here.camera.does = "hang"
    until(lambda: here.pool._shared[SPEC].capture is not old, 20)  # pyright: ignore[reportPrivateUsage]
    until(lambda: not source.online)
    frames = source.frames
    late = Picture(np.zeros((2, 2, 3), np.uint8), time.time(), time.monotonic())
    source.arrived(late, old._term)  # pyright: ignore[reportPrivateUsage]
    assert (source.frames, source.online) == (frames, False)
    error = source.error
    source.failed(StreamUnreachable("late"), old._term)  # pyright: ignore[reportPrivateUsage]
    assert source.error is error
    here.camera.let_go(1)  # it gives a picture as if nothing had been
    until(lambda: not old.running)
    assert (source.frames, source.online) == (frames, False)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_whose_thread_has_died_is_replaced(site: Callable[..., Site]) -> None:
    here = site()
    source = here.pool.acquire(SPEC)
    until(lambda: source.online)
    here.camera.does = "die"
    until(lambda: not reader_threads())
    here.camera.does = "show"
    until(lambda: source.frames and source.online and reader_threads(), 10)
    assert not here.failures
    assert here.supervisor.status()[0]["restarts"] >= 1


def test_one_that_hangs_each_time_has_failed_and_is_tried_again_later(site: Callable[..., Site]) -> None:
    here = site(restarts=1, window_sec=8.0)
    source = here.pool.acquire(SPEC)
    until(lambda: source.online)
    here.camera.does = "hang"
    failure = until(lambda: here.failures, 20)[0]
    assert (failure.kind, failure.name, failure.ended) == ("reader", SPEC.label, False)
    error = until(lambda: source.error)
    assert error.code == "stream_lost"
    assert "has hung" in error.message
    assert "look at the camera" in error.message
    assert not source.online
    assert len(reader_threads()) == 2
    here.camera.does = "show"
    until(lambda: source.online, 30)
    assert source.error is None
    until(lambda: here.failures[-1].ended, 30)  # told once it has been well for the window


def test_readers_that_hang_are_bounded_whoever_subscribes_again(
    site: Callable[..., Site], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siwatsystem.streams.ending.GONE_SEC", 0.3)
    here = site()
    here.camera.does = "hang"
    for number in range(MOST):
        source = here.pool.acquire(SPEC)
        until(lambda number=number: len(reader_threads()) == number + 1)
        here.pool.release(source)
    until(lambda: hanging() == MOST)
    source = here.pool.acquire(SPEC)
    assert source.error is not None
    assert "readers hang" in source.error.message
    other = here.pool.acquire(SourceSpec("rtsp://127.0.0.1/another"))
    assert other.error is None
    time.sleep(1)
    assert len(reader_threads()) == MOST + 1
    assert caplog.text.count("is left behind") == MOST
    here.pool.release(other)
    here.camera.end()
    until(lambda: source.online, 20)
    until(lambda: hanging() == 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_for_which_there_is_no_thread_is_begun_later(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = site()
    source = here.pool.acquire(SPEC)
    until(lambda: source.online)

    def refuse(_: Capture) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(Capture, "start", refuse)
        here.camera.does = "die"
        until(lambda: not reader_threads())
        here.camera.does = "show"
        until(lambda: source.error, 10)
    until(lambda: source.online, 10)


def watchdogs() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "cameras-watchdog"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("hangs", [False, True])
def test_a_watchdog_that_dies_or_hangs_is_replaced(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    here = site()
    go_on = threading.Event()
    check = Capture.check
    first: list[threading.Thread] = []

    def bad(self: Capture, now: float) -> None:
        me = threading.current_thread()
        if not first:
            first.append(me)
        if first[0] is me:
            if not hangs:
                raise SystemExit
            go_on.wait(30)
        check(self, now)

    monkeypatch.setattr(pool_module.Capture, "check", bad)
    source = here.pool.acquire(SPEC)
    until(lambda: first)
    until(lambda: any(one is not first[0] for one in watchdogs()), 10)
    here.camera.does = "hang"
    until(lambda: source.error, 10)  # only a watchdog that lives tells this
    go_on.set()
    until(lambda: first[0] not in watchdogs())
    assert here.supervisor.status()[0]["kind"] == "watchdog"
