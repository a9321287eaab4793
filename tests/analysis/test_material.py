from pathlib import Path

import pytest

from siwatsystem.analysis.material import Recording
from tests.cameras import CLIP


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that cannot be read from 8 to 11 seconds."""
    data = bytearray(CLIP.with_name("morning-rush.mp4").read_bytes())
    data[600_000:700_000] = b"\x55" * 100_000
    path = tmp_path_factory.mktemp("film") / "holed.mp4"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("limit", "told"), [(7.5, False), (9.0, True), (14.0, True)])
def test_a_limit_hides_no_hole_before_it_and_tells_none_behind_it(holed: Path, limit: float, told: bool):
    material = Recording(holed, fps=2)
    material.limit_sec = limit
    assert all(frame.at < limit for frame in material)
    assert material.end == limit
    assert material.damage == ("damaged: nothing whole from 0:08.0 to 0:11.0" if told else None)


@pytest.mark.parametrize(("until", "told"), [(7.5, False), (11.0, True)])
def test_so_it_is_where_the_reading_is_left(holed: Path, until: float, told: bool):
    material = Recording(holed, fps=2)
    for frame in material:
        if frame.at >= until:
            break
    assert (material.damage is not None) == told
