"""Frames' planes sampled: the same colours and places as the converted picture, cheaper."""

import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame

from siwatsystem.frames import Frame
from siwatsystem.streams.conversion import Decoded, decoded_from

WIDTH, HEIGHT = 320, 180


def scene(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Soft colours with an edge, of full contrast."""
    noise = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    soft = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 8), None, 30, 225, cv2.NORM_MINMAX)
    soft[height // 3 : height // 2, width // 4 : width // 2] = (40, 40, 40)
    return soft


def decoded(kind: str, colorspace: int = 2, color_range: int = 0) -> Decoded:
    frame = VideoFrame.from_ndarray(scene(), format="bgr24").reformat(format=kind)
    frame.colorspace, frame.color_range = colorspace, color_range
    return Decoded(frame)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize(
    "kind", ["yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12"]
)
@pytest.mark.parametrize("colorspace", [1, 2, 5, 9])
@pytest.mark.parametrize("color_range", [0, 1, 2])
def test_sampling_gives_the_colours_of_the_conversion(kind: str, colorspace: int, color_range: int):
    frame = decoded(kind, colorspace, color_range)
    whole = frame.whole()
    sampled = frame.sampled((0, 0, WIDTH, HEIGHT), (HEIGHT, WIDTH))
    assert sampled is not None
    assert apart(whole, sampled) < 2.0
    # The matrix, not the edges: a wrong one shifts whole surfaces.
    assert np.abs(whole.mean(axis=(0, 1)) - sampled.mean(axis=(0, 1))).max() < 1.0


def test_another_matrix_would_be_noticed():
    one, other = decoded("yuv420p", 5), decoded("yuv420p", 1)
    sampled = other.sampled((0, 0, WIDTH, HEIGHT), (HEIGHT, WIDTH))
    assert sampled is not None
    assert apart(one.whole(), sampled) > 2.0


@pytest.mark.parametrize("box", [(0, 0, 320, 180), (33, 21, 233, 141), (1, 1, 4, 4), (300, 170, 320, 180)])
@pytest.mark.parametrize("size", [(96, 96), (45, 80), (180, 320)])
def test_a_part_is_sampled_where_opencv_samples_the_converted_picture(
    box: tuple[int, int, int, int], size: tuple[int, int]
):
    frame = decoded("yuv420p")
    x1, y1, x2, y2 = box
    wanted = cv2.resize(frame.whole()[y1:y2, x1:x2], (size[1], size[0]))
    sampled = frame.sampled(box, size)
    assert sampled is not None
    assert apart(wanted, sampled) < 2.5


def test_sampling_keeps_closer_to_the_reference_than_swscale_does():
    raw = VideoFrame.from_ndarray(scene(), format="bgr24").reformat(format="yuv420p")
    frame = Decoded(raw)
    reference = cv2.resize(frame.whole(), (107, 60))
    sampled = frame.sampled((0, 0, WIDTH, HEIGHT), (60, 107))
    assert sampled is not None
    swscaled = raw.reformat(107, 60, "bgr24").to_ndarray()
    assert apart(reference, sampled) < apart(reference, swscaled)


@pytest.mark.parametrize(("width", "height"), [(321, 181), (2, 2), (641, 359)])
def test_pictures_of_odd_size(width: int, height: int):
    raw = VideoFrame.from_ndarray(scene(width, height), format="bgr24").reformat(format="yuv420p")
    frame = Decoded(raw)
    sampled = frame.sampled((0, 0, width, height), (height, width))
    assert sampled is not None
    assert apart(frame.whole(), sampled) < 3.0


@pytest.mark.parametrize("kind", ["yuv420p10le", "rgb24", "gray"])
def test_other_kinds_are_converted_as_a_whole(kind: str):
    frame = decoded(kind)
    assert frame.sampled((0, 0, WIDTH, HEIGHT), (90, 160)) is None
    assert frame.whole().shape == (HEIGHT, WIDTH, 3)


def test_a_picture_becomes_one_of_a_camera():
    image = scene()
    frame = Frame(decoded_from(image), captured_at=0.0, monotonic=0.0)
    assert frame.shape == (HEIGHT, WIDTH)
    assert not frame.converted
    assert apart(frame.image, image) < 4.0
    assert np.abs(frame.image.mean(axis=(0, 1)) - image.mean(axis=(0, 1))).max() < 1.5
    assert frame.converted
