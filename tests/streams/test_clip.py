from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
import pytest

from siwatsystem.errors import StreamError, StreamNotFound
from siwatsystem.streams.clip import Clip, ClipInfo, clips, clock
from tests.cameras import CLIP, film, title_in_latin1


def uneven(path: Path, times: list[float]) -> Path:
    """A film of 64×48 pixels whose pictures stand at those seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time in times:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="bgr24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_every_frame_with_its_time_and_what_the_file_says(tmp_path):
    clip = Clip(film(tmp_path / "a.mp4", 40, rate=20))
    assert clip.info == ClipInfo(64, 48, 20.0, 2.0, 40, "h264")
    frames = list(clip)
    assert [frame.index for frame in frames] == list(range(40))
    assert [frame.at for frame in frames] == pytest.approx([number / 20 for number in range(40)])
    assert frames[0].image.shape == (48, 64, 3)
    assert abs(int(frames[0].image.mean()) - 20) < 5 < int(frames[-1].image.mean()) - 200
    assert clip.damage is None


def test_two_readings_are_the_same(tmp_path):
    clip = Clip(film(tmp_path / "a.mp4", 30), fps=7)
    first, second = list(clip), list(clip)
    assert len(first) == len(second) == 11
    for one, other in zip(first, second, strict=True):
        assert (one.at, one.index) == (other.at, other.index)
        assert np.array_equal(one.image, other.image)


def test_thinning_goes_by_time_stamps_not_by_counting(tmp_path):
    path = uneven(tmp_path / "a.mp4", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 2.0, 4.0, 4.1, 4.5])
    assert [frame.at for frame in Clip(path, fps=2)] == pytest.approx([0, 0.5, 2.0, 4.0, 4.5])
    assert [frame.index for frame in Clip(path, every=4)] == [0, 4, 8]


def test_a_file_that_was_cut_short_gives_what_there_is_and_says_where_it_breaks_off(tmp_path):
    whole = CLIP.read_bytes()
    path = tmp_path / "cut.mp4"
    with av.open(str(CLIP)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    path.write_bytes(path.read_bytes()[: len(whole) * 6 // 10])
    clip = Clip(path, fps=1)
    frames = list(clip)
    assert len(frames) == 12
    assert clip.damage == "damaged: it breaks off at 0:12.0 of 0:22.0"


def test_flipped_bits_cost_what_cannot_be_trusted_and_are_told(tmp_path):
    data = bytearray(CLIP.read_bytes())
    whole = {frame.index: frame.image for frame in Clip(CLIP)}
    for place in range(400_000, 900_000, 100_000):
        data[place] ^= 0x10
    path = tmp_path / "flipped.mp4"
    path.write_bytes(data)
    clip = Clip(path)
    frames = list(clip)
    assert 200 < len(frames) < len(whole)
    assert clip.damage is not None
    assert clip.damage.startswith("damaged: nothing whole from 0:0")
    # What is shown is what was recorded, but for flips that leave a valid stream: no decoder finds those.
    same = [np.abs(one.image.astype(int) - whole[one.index]).mean() < 3 for one in frames]
    assert sum(same) >= 0.9 * len(frames)
    assert all(a.at < b.at for a, b in pairwise(frames))


def overwritten(path: Path, clip: Path) -> Path:
    """`clip` with a hole of rubbish in its middle."""
    data = bytearray(clip.read_bytes())
    data[600_000:700_000] = b"\x55" * 100_000
    path.write_bytes(data)
    return path


def test_who_leaves_after_a_hole_is_told_who_leaves_before_it_is_not(tmp_path):
    clip = Clip(overwritten(tmp_path / "a.mp4", CLIP.with_name("morning-rush.mp4")), fps=2)
    seen = []
    for frame in clip:
        seen.append(frame.at)
        if frame.at >= 12:
            break
    assert max(b - a for a, b in pairwise(seen)) == 3.0
    assert clip.damage_before(12) == "damaged: nothing whole from 0:08.0 to 0:11.0"
    assert clip.damage_before(8) is None


def test_a_keyframe_from_before_the_damage_heals_nothing(tmp_path):
    path = tmp_path / "a.mp4"
    noise = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        # With frames that look ahead, pictures leave the decoder later than their packets went in.
        stream = container.add_stream("libx264", rate=10, options={"bf": "3", "b-adapt": "0", "g": "20"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(60):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 255, (48, 64, 3), np.uint8), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    whole = {frame.index: frame.image for frame in Clip(path)}
    with av.open(str(path)) as container:
        packets = [one for one in container.demux(video=0) if one.size]
        keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
        first, begin, end = (float(packets[key].pts * packets[key].time_base) for key in keys[:3])
        place, size = packets[keys[1] + 1].pos, packets[keys[1] + 1].size
    data = bytearray(path.read_bytes())
    data[place : place + size] = b"\x55" * size
    path.write_bytes(data)
    clip = Clip(path)
    frames = list(clip)
    assert clip.damage is not None
    assert clip.damage.endswith(f" to {clock(end - first)}")
    assert [frame.at for frame in frames if begin - first < frame.at < end - first - 0.01] == []
    assert all(np.array_equal(one.image, whole[round(10 * one.at)]) for one in frames)
    assert frames[-1].at == pytest.approx(5.9)


def test_a_still_camera_that_leaves_out_frames_is_not_damaged(tmp_path):
    clip = Clip(uneven(tmp_path / "a.mp4", [0, 0.1, 0.2, 3.0, 3.1, 9.0, 9.1]))
    assert len(list(clip)) == 7
    assert clip.damage is None


@pytest.mark.parametrize("name", ["dusk-visit", "morning-rush", "rainy-night"])
def test_of_a_whole_clip_no_damage_is_told(name):
    clip = Clip(CLIP.with_name(f"{name}.mp4"), fps=1)
    assert len(list(clip)) >= 20
    assert clip.damage is None
    assert clip.damage_before(99) is None


def test_a_title_that_is_no_utf8_is_nobodys_trouble(tmp_path):
    path = title_in_latin1(film(tmp_path / "a.mp4", 5))
    with pytest.raises(UnicodeDecodeError):
        av.open(str(path))
    clip = Clip(path)
    assert len(list(clip)) == 5
    assert clip.damage is None


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "2024-05-01T12:30:00.mp4", 5)
    assert len(list(Clip(Path("2024-05-01T12:30:00.mp4")))) == 5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"hello\n" * 1000, "is no video that can be read"),
        (b"", "is no video that can be read"),
        (CLIP.read_bytes()[:500_000], "the recording was cut off before it was finished"),
    ],
    ids=["text", "empty", "no index"],
)
def test_what_is_no_video_is_refused_by_name(tmp_path, content, said):
    path = tmp_path / "odd.mp4"
    path.write_bytes(content)
    with pytest.raises(StreamError, match=said) as error:
        Clip(path)
    assert "odd.mp4" in error.value.message


def test_a_picture_is_a_clip_of_one_frame(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((30, 50, 3), 7, np.uint8))
    clip = Clip(path, fps=2)
    assert clip.info == ClipInfo(50, 30, 0.0, 0.0, 1, "png")
    assert [(frame.at, frame.index, frame.image.mean()) for frame in clip] == [(0.0, 0, 7.0)]
    path.write_bytes(b"no picture")
    with pytest.raises(StreamError, match=r"a\.png: is no picture"):
        Clip(path)


def test_leaving_an_iteration_closes_the_file(tmp_path):
    path = film(tmp_path / "a.mp4", 40)
    for _ in Clip(path):
        break
    assert str(path) not in [one.path for one in psutil.Process().open_files()]


def test_a_folder_has_its_videos_and_pictures_in_name_order(tmp_path):
    for name in ("b.MP4", "a.jpg", "c.mkv", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "d.mp4").mkdir()
    assert [path.name for path in clips(tmp_path)] == ["a.jpg", "b.MP4", "c.mkv"]
    assert clips(tmp_path / "b.MP4") == [tmp_path / "b.MP4"]


def test_a_folder_without_any_and_a_path_without_anything_are_told(tmp_path):
    with pytest.raises(StreamNotFound, match="holds no video and no picture"):
        clips(tmp_path)
    with pytest.raises(StreamNotFound, match="no such file or folder"):
        clips(tmp_path / "gone")
    with pytest.raises(StreamNotFound, match="no such file"):
        Clip(tmp_path / "gone.mp4")


def test_times_are_told_to_a_tenth():
    assert [clock(one) for one in (0, 7.2, 59.97, 67.26)] == ["0:00.0", "0:07.2", "1:00.0", "1:07.3"]
    assert clock(3700) == "1:01:40.0"
