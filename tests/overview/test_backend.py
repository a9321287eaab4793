"""Since when the backend is gone."""

from siwatsystem.overview.backend import PATIENCE_SEC, Backend, presence
from tests.test_worker import Bench, play


def test_nobody_is_missed_who_was_never_there():
    backend = Backend()
    backend.look(1.0, subscribed=False, connected=False)
    backend.look(2.0, subscribed=False, connected=True)
    backend.look(3.0, subscribed=False, connected=False)
    assert backend.gone(100.0) is None


def test_it_is_told_since_it_left_once_it_may_not_be_back_in_a_moment():
    backend = Backend()
    backend.look(1.0, subscribed=True, connected=True)
    assert backend.gone(100.0) is None
    backend.look(2.0, subscribed=True, connected=False)  # kept warm
    backend.look(4.0, subscribed=False, connected=False)
    assert backend.gone(1.9 + PATIENCE_SEC) is None
    assert backend.gone(2.0 + PATIENCE_SEC) == 2.0
    backend.look(50.0, subscribed=False, connected=True)
    assert backend.gone(100.0) is None
    backend.look(60.0, subscribed=False, connected=False)
    assert backend.gone(100.0) == 60.0


def test_a_page_that_runs_tests_is_no_backend():
    async def scene(bench: Bench) -> None:
        assert presence(bench.worker) == {"subscribed": False, "connected": False}
        page = bench.connect()
        bench.subscribe(page, "dashboard;trial")
        assert presence(bench.worker) == {"subscribed": False, "connected": False}
        backend = bench.connect()
        assert presence(bench.worker) == {"subscribed": False, "connected": True}
        bench.subscribe(backend)
        assert presence(bench.worker) == {"subscribed": True, "connected": True}
        bench.worker.disconnect(backend)
        assert presence(bench.worker) == {"subscribed": True, "connected": False}
        bench.unsubscribe(page, "dashboard;trial")
        assert presence(bench.worker) == {"subscribed": True, "connected": True}  # it may be one

    play(scene)
