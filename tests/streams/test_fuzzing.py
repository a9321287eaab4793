"""Some broken answers of each kind; `python -m tests.streams.fuzzing` makes as many as one likes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from siwatsystem.errors import StreamUnreachable
from siwatsystem.streams.clip import Clip
from siwatsystem.streams.spec import SourceSpec
from tests.cameras import ROOT, Pool, film, misbehaving, pools
from tests.servers import until
from tests.streams.test_snapshot import answer, answering

__all__ = ["pools"]

pytestmark = pytest.mark.xdist_group("streams")

CASES = [("rtsp", 25), ("multipart", 400), ("playlist", 400), ("transport", 100)]


@pytest.mark.parametrize(("kind", "cases"), CASES)
def test_broken_answers_crash_nothing(kind: str, cases: int) -> None:
    command = [sys.executable, "-m", "tests.streams.fuzzing", kind, f"--cases={cases}", "--seed=7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def unknown(path: Path) -> Path:
    """A film in an encoding that nobody knows."""
    film(path, 10)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    return path


def test_an_unknown_encoding_is_told_as_such(
    pools: Callable[..., Pool], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = unknown(tmp_path / "film.mp4")
    source = pools(streams={"file_root": tmp_path}).acquire(SourceSpec(f"file://{path}"))
    assert "nothing here decodes" in until(lambda: source.error, 10).message
    assert "reading failed" not in caplog.text
    with pytest.raises(StreamUnreachable, match=r"film\.mp4"):
        list(Clip(path))


def test_a_playlist_in_no_text_is_an_error_of_the_camera(
    pools: Callable[..., Pool], caplog: pytest.LogCaptureFixture
) -> None:
    body = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n\xb3\xdd.ts\n#EXT-X-ENDLIST\n"
    reply = answer(body, "200 OK", "Content-Type: application/vnd.apple.mpegurl")
    with misbehaving(answering(reply)) as port:
        source = pools().acquire(SourceSpec(f"http://127.0.0.1:{port}/x.m3u8"))
        assert until(lambda: source.error, 15).code == "stream_unreachable"
    assert "reading failed" not in caplog.text
