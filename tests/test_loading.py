"""The loader by value: an opener that does as it is told."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from siwatsystem import loading
from siwatsystem.config import Settings
from siwatsystem.engine import Engine
from siwatsystem.errors import ModelDownloadFailed, ModelRefused
from siwatsystem.loading import Loaded, PipelineKey, PipelineLoader
from siwatsystem.model_registry import longest_load
from siwatsystem.opening import Opening
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.supervision import MOST_STUCK, Forget, Watched
from siwatsystem.testing import FakeModel, FakeOpener, fake_pipeline, until
from tests.servers import until as soon

KEY = PipelineKey.of(1, "http://m/a.mpta")


class Bench:
    def __init__(self, failures: list[Exception], **settings: Any) -> None:
        self.opener = FakeOpener(lambda: fake_pipeline(FakeModel(())), failures)
        self.changes: list[str] = []
        self.watched: list[Watched] = []
        self.loader = PipelineLoader(self.opener, Settings(**settings), self._note, self._watch)

    def _watch(self, part: Watched) -> Forget:
        self.watched.append(part)
        return lambda: self.watched.remove(part)

    def _note(self, entry: Loaded) -> None:
        self.changes.append("ready" if entry.pipeline is not None else entry.error.code)  # type: ignore[union-attr]


def play(
    scene: Callable[[Bench], Coroutine[Any, Any, None]],
    failures: list[Exception] | None = None,
    **settings: Any,
) -> None:
    async def main() -> None:
        bench = Bench(failures or [], **settings)
        try:
            await scene(bench)
        finally:
            bench.opener.gate.set()
            await bench.loader.close()

    asyncio.run(main())


def test_keys_ignore_the_query_and_hide_it():
    signed = PipelineKey.of(1, "http://m/a.mpta?signature=secret")
    assert signed == KEY
    assert hash(signed) == hash(KEY)
    assert "secret" not in repr(signed)
    assert signed.url.endswith("?signature=secret")
    assert PipelineKey.of(2, "http://m/a.mpta") != KEY
    assert PipelineKey.of(1, "http://m/b.mpta") != KEY


def test_two_users_share_what_is_loaded_once_and_the_last_one_closes_it():
    async def scene(bench: Bench) -> None:
        first = bench.loader.acquire(KEY)
        second = bench.loader.acquire(PipelineKey.of(1, "http://m/a.mpta?s=2"))
        assert first is second
        assert bench.loader.all() == [first]
        await until(lambda: first.pipeline)
        pipeline = first.pipeline
        assert bench.changes == ["ready"]
        bench.loader.release(first)
        await asyncio.sleep(0.02)
        assert first.pipeline is pipeline
        assert bench.opener.closed == []
        bench.loader.release(first)
        await until(lambda: bench.opener.closed)
        assert bench.opener.closed == [(KEY, pipeline)]
        assert first.pipeline is None
        assert bench.loader.all() == []
        assert len(bench.opener.opened) == 1

    play(scene)


def test_who_comes_after_the_last_one_left_gets_a_new_one():
    async def scene(bench: Bench) -> None:
        first = bench.loader.acquire(KEY)
        await until(lambda: first.pipeline)
        bench.loader.release(first)
        second = bench.loader.acquire(KEY)
        assert second is not first
        await until(lambda: second.pipeline)
        await until(lambda: bench.opener.closed)
        assert len(bench.opener.opened) == 2
        assert bench.opener.closed[0][1] is not second.pipeline

    play(scene)


def test_failures_that_pass_are_tried_again_and_given_back_each():
    async def scene(bench: Bench) -> None:
        entry = bench.loader.acquire(KEY)
        await until(lambda: entry.pipeline)
        assert bench.changes == ["model_download_failed", "model_download_failed", "ready"]
        assert entry.error is None
        assert bench.opener.closed == [(KEY, None), (KEY, None)]

    away = [ModelDownloadFailed("away"), ModelDownloadFailed("away")]
    play(scene, away, reconnect_interval_sec=0.01)


def test_after_max_retries_it_rests_as_after_a_permanent_failure():
    async def scene(bench: Bench) -> None:
        entry = bench.loader.acquire(KEY)
        await until(lambda: len(bench.opener.opened) == 3)
        await asyncio.sleep(0.15)
        assert len(bench.opener.opened) == 3  # the first attempt and two more
        assert entry.error is not None
        assert entry.pipeline is None

    away: list[Exception] = [ModelDownloadFailed("away") for _ in range(9)]
    play(scene, away, reconnect_interval_sec=0.005, max_retries=2)


def test_no_limit_of_retries_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loading, "LONGEST_WAIT_SEC", 0.01)

    async def scene(bench: Bench) -> None:
        entry = bench.loader.acquire(KEY)
        await until(lambda: entry.pipeline)
        assert len(bench.opener.opened) == 9

    away: list[Exception] = [ModelDownloadFailed("away") for _ in range(8)]
    play(scene, away, reconnect_interval_sec=0.005, max_retries=-1)


def test_a_permanent_failure_rests_until_it_is_asked_for_anew():
    async def scene(bench: Bench) -> None:
        entry = bench.loader.acquire(KEY)
        await until(lambda: entry.error)
        await asyncio.sleep(0.1)
        assert len(bench.opener.opened) == 1
        assert entry.error.code == "model_refused"  # type: ignore[union-attr]
        bench.loader.retry(entry)
        assert entry.error is None
        await until(lambda: entry.pipeline)
        assert bench.changes == ["model_refused", "ready"]

    play(scene, [ModelRefused("a pickle")], reconnect_interval_sec=0.005)


def test_a_permanent_failure_is_tried_again_after_its_rest():
    async def scene(bench: Bench) -> None:
        entry = bench.loader.acquire(KEY)
        await until(lambda: entry.pipeline)

    play(scene, [ModelRefused("a pickle")], permanent_retry_sec=0.05)


def test_what_is_ready_or_on_its_way_is_not_loaded_again_by_retry():
    async def scene(bench: Bench) -> None:
        bench.opener.gate.clear()
        entry = bench.loader.acquire(KEY)
        await until(lambda: bench.opener.opened)
        bench.loader.retry(entry)
        bench.opener.gate.set()
        await until(lambda: entry.pipeline)
        bench.loader.retry(entry)
        await asyncio.sleep(0.02)
        assert len(bench.opener.opened) == 1

    play(scene)


def test_an_error_that_no_list_has_becomes_a_refused_model():
    async def scene(bench: Bench) -> None:
        entry = bench.loader.acquire(KEY)
        await until(lambda: entry.error)
        assert entry.error.code == "model_invalid"  # type: ignore[union-attr]
        assert entry.error.message == "the model could not be opened: KeyError: 'weights'"  # type: ignore[union-attr]
        assert bench.opener.closed == [(KEY, None)]

    play(scene, [KeyError("weights")])


def test_nobody_wants_it_any_more_while_it_is_being_opened():
    async def scene(bench: Bench) -> None:
        bench.opener.gate.clear()
        entry = bench.loader.acquire(KEY)
        await until(lambda: bench.opener.opened)
        bench.loader.release(entry)
        await asyncio.sleep(0.02)
        assert bench.opener.closed == []
        bench.opener.gate.set()
        await until(lambda: bench.opener.closed)
        key, pipeline = bench.opener.closed[0]
        assert key == KEY
        assert pipeline is not None
        assert bench.changes == []
        assert entry.pipeline is None

    play(scene)


def test_an_attempt_uses_the_newest_query():
    async def scene(bench: Bench) -> None:
        entry = bench.loader.acquire(PipelineKey.of(1, "http://m/a.mpta?s=old"))
        await until(lambda: entry.error)
        bench.loader.acquire(PipelineKey.of(1, "http://m/a.mpta?s=new"))
        bench.loader.retry(entry)
        await until(lambda: entry.pipeline)
        assert [key.url[-3:] for key in bench.opener.opened] == ["old", "new"]

    play(scene, [ModelRefused("expired")])


def test_an_address_without_a_query_takes_none_away():
    entry = Loaded(PipelineKey.of(1, "http://m/a.mpta?signature=1"))
    entry.asked_as(PipelineKey.of(1, "http://m/a.mpta"))
    assert entry.key.url.endswith("?signature=1")
    entry.asked_as(PipelineKey.of(1, "http://m/a.mpta?signature=2"))
    assert entry.key.url.endswith("?signature=2")
    plain = Loaded(PipelineKey.of(1, "http://m/a.mpta"))
    plain.asked_as(PipelineKey.of(1, "http://m/a.mpta?signature=3"))
    assert plain.key.url.endswith("?signature=3")


def test_no_thread_to_be_had_is_a_failure_that_passes():
    async def scene(bench: Bench) -> None:
        submit = bench.loader._threads.submit
        refusals = [RuntimeError("can't start new thread")]

        def refuse_once(*args: Any) -> Any:
            if refusals:
                raise refusals.pop()
            return submit(*args)

        bench.loader._threads.submit = refuse_once  # type: ignore[method-assign]
        entry = bench.loader.acquire(KEY)
        await until(lambda: entry.pipeline)
        assert bench.changes == ["overloaded", "ready"]

    play(scene, reconnect_interval_sec=0.01)


def test_closing_closes_what_is_loaded():
    async def scene(bench: Bench) -> None:
        entry = bench.loader.acquire(KEY)
        await until(lambda: entry.pipeline)
        await bench.loader.close()
        await until(lambda: bench.opener.closed)
        assert bench.loader.all() == []

    play(scene)


def test_what_is_told_may_fail_without_leaving_a_pipeline_open(caplog: pytest.LogCaptureFixture):
    async def scene(bench: Bench) -> None:
        def fail(entry: Loaded) -> None:
            raise RuntimeError("nobody listens")

        bench.loader._on_change = fail
        bench.loader.acquire(KEY)
        await until(lambda: bench.opener.closed)

    play(scene)


class Hanging(FakeOpener):
    """Hangs in the first `count` attempts, until `go`; each has a turn that it should give back."""

    def __init__(self, count: int) -> None:
        super().__init__(lambda: fake_pipeline(FakeModel(())))
        self.count, self.go = count, threading.Event()
        self.given_back = 0

    def open(self, key: PipelineKey, opening: Opening) -> Pipeline:
        with opening.within(5.0, self._give_back):
            pipeline = super().open(key, opening)
            if len(self.opened) <= self.count:
                assert self.go.wait(30)
            return pipeline

    def _give_back(self) -> None:
        self.given_back += 1


def test_a_load_that_hangs_is_told_and_tried_again_beside_it():
    async def scene(bench: Bench) -> None:
        opener = bench.loader._opener = Hanging(1)
        entry = bench.loader.acquire(KEY)
        await until(lambda: opener.opened)
        (part,) = bench.watched
        await until(lambda: entry.opening is not None and entry.opening._began)
        now = time.monotonic()
        assert (part.kind, part.look(now)) == ("loading", None)
        assert part.restart() is False
        assert part.look(now + 6) == "loading it takes longer than 5 s"
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(loading.time, "monotonic", lambda: now + 6)
            assert await asyncio.to_thread(part.restart) is True
        assert part.look(now + 60) is None
        assert opener.given_back == 1
        await until(lambda: entry.pipeline)
        assert bench.changes == ["model_invalid", "ready"]
        assert opener.given_back == 2
        assert bench.watched == [part], "what hangs is still shown"
        opener.go.set()
        await until(lambda: opener.closed)
        assert opener.closed[0][1] not in (None, entry.pipeline)
        await until(lambda: not bench.watched)
        assert opener.given_back == 2

    play(scene, reconnect_interval_sec=0.01)


def test_only_so_many_loads_that_hang_are_given_up():
    async def scene(bench: Bench) -> None:
        opener = bench.loader._opener = Hanging(MOST_STUCK + 1)
        for number in range(MOST_STUCK + 1):
            bench.loader.acquire(PipelineKey.of(number, "http://m/a.mpta"))
        await until(lambda: len(opener.opened) == MOST_STUCK + 1)
        await asyncio.sleep(0.05)
        parts, now = list(bench.watched), time.monotonic()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(loading.time, "monotonic", lambda: now + 6)
            said = await asyncio.to_thread(lambda: [part.restart() for part in parts])
        assert said == [True] * MOST_STUCK + [False]
        assert parts[-1].look(now + 6) is not None
        opener.go.set()
        await until(lambda: not bench.loader._hung)

    play(scene, reconnect_interval_sec=100)


def test_archives_that_hang_do_not_keep_others_from_being_opened(tmp_path: Path):
    engine, go = Engine(Settings(), lambda problem: None), threading.Event()
    (tmp_path / "a.onnx").touch()
    (tmp_path / "b.pt").touch()
    openings = [Opening() for _ in range(3)]
    inside: list[Opening] = []

    def hang(opening: Opening) -> None:
        with engine._turn(opening, tmp_path):
            inside.append(opening)
            assert go.wait(30)

    threads = [threading.Thread(target=hang, args=(opening,)) for opening in openings]
    for thread in threads[:2]:
        thread.start()
    soon(lambda: len(inside) == 2)
    threads[2].start()
    longest = 2 * longest_load(Settings().runtime)
    assert openings[0].look(time.monotonic() + longest - 10) is None
    assert openings[0].look(time.monotonic() + longest + 1) is not None
    assert openings[2].look(time.monotonic() + 1e9) is None, "it waits for its turn"
    openings[0].give_up()
    soon(lambda: len(inside) == 3)
    go.set()
    for thread in threads:
        thread.join(30)
    assert [engine._opening.acquire(blocking=False) for _ in range(3)] == [True, True, False]
