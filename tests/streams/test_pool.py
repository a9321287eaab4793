"""The pool when the system gives it no thread."""

from pathlib import Path

import pytest

from siwatsystem.streams.capture import Capture
from siwatsystem.streams.pool import SourcePool
from siwatsystem.streams.spec import SourceSpec
from tests.cameras import camera_settings


def test_a_camera_that_found_no_thread_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pool = SourcePool(camera_settings(), lambda source: None)
    spec = SourceSpec("rtsp://127.0.0.1:1/none")

    def refuse(self: Capture) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(Capture, "start", refuse)
        with pytest.raises(RuntimeError, match="thread"):
            pool.acquire(spec)
    assert pool.status() == []
    source = pool.acquire(spec)
    assert pool.status()[0]["users"] == 1
    pool.release(source)
    assert pool.close(10)
