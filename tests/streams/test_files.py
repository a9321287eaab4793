"""Video files as cameras."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from siwatsystem.streams.spec import SourceSpec
from tests.cameras import Pool, film, pools, title_in_latin1
from tests.servers import until

__all__ = ["pools"]

pytestmark = pytest.mark.xdist_group("streams")


def test_a_file_plays_in_its_own_time_and_begins_again(pools: Callable[..., Pool], tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 20)
    source = pools(streams={"file_root": tmp_path}).acquire(SourceSpec(f"file://{path}"))
    seen: list[float] = []

    def listener() -> None:
        assert source.latest is not None
        seen.append(float(source.latest.image.mean()))

    source.add_listener(listener)
    until(lambda: source.online)
    began, before = time.monotonic(), source.frames
    until(lambda: source.frames >= before + 45)
    assert 1.5 < time.monotonic() - began < 8
    assert source.reconnects == 0
    drops = sum(1 for one, next_one in itertools.pairwise(seen) if next_one < one - 60)
    assert drops >= 2


@pytest.mark.parametrize("frames", [1, 2])
def test_a_file_of_fewer_pictures_than_the_decoder_holds_back_is_played(
    pools: Callable[..., Pool], tmp_path: Path, frames: int
) -> None:
    path = film(tmp_path / "film.mp4", frames)
    source = pools(streams={"file_root": tmp_path}).acquire(SourceSpec(f"file://{path}"))
    seen: set[int] = set()

    def listener() -> None:
        assert source.latest is not None
        seen.add(round(float(source.latest.image.mean()) / 20))

    source.add_listener(listener)
    until(lambda: source.frames >= 6)
    # Grey 20 and, in the middle, 120.
    assert seen == ({1, 6} if frames == 2 else {1})
    assert source.error is None


def test_a_file_that_is_not_there_is_told(pools: Callable[..., Pool], tmp_path: Path) -> None:
    source = pools(streams={"file_root": tmp_path}).acquire(SourceSpec(f"file://{tmp_path}/no.mp4"))
    error = until(lambda: source.error)
    assert error.permanent


def test_a_title_that_is_no_utf8_is_nobodys_trouble(pools: Callable[..., Pool], tmp_path: Path) -> None:
    path = title_in_latin1(film(tmp_path / "film.mp4", 20))
    source = pools(streams={"file_root": tmp_path}).acquire(SourceSpec(f"file://{path}"))
    until(lambda: source.online)
    assert source.reconnects == 0


def test_a_playlist_does_not_lead_out_of_the_folder(pools: Callable[..., Pool], tmp_path: Path) -> None:
    outside = film(tmp_path / "outside.mp4", 5)
    root = tmp_path / "root"
    root.mkdir()
    (root / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{outside}'\n")
    (root / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{outside}\n#EXT-X-ENDLIST\n")
    pool = pools(streams={"file_root": root})
    for name in ("list.mp4", "list.m3u8"):
        source = pool.acquire(SourceSpec(f"file://{root}/{name}"))
        until(lambda source=source: source.error)
        assert source.latest is None
