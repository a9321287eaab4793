"""Views of frames: parts and sizes of both ways, and that nothing is converted before it must be."""

import cv2
import numpy as np
import pytest

from siwatsystem.frames import Crop, Frame, Image, Size
from siwatsystem.views import View


class Camera:
    """A decoder's picture that counts what is asked of it. Sampled pixels are all 7."""

    def __init__(self, image: Image, samples: bool = True) -> None:
        self._image, self._samples = image, samples
        self.converted = 0
        self.sampled_boxes: list[tuple[Crop, Size]] = []

    @property
    def shape(self) -> Size:
        return self._image.shape[0], self._image.shape[1]

    def whole(self) -> Image:
        self.converted += 1
        return self._image

    def sampled(self, box: Crop, size: Size) -> Image | None:
        if not self._samples:
            return None
        self.sampled_boxes.append((box, size))
        return np.full((*size, 3), 7, np.uint8)


@pytest.fixture
def image() -> Image:
    return np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)


def view_of(camera: Camera, box: Crop | None = None) -> View:
    return View(Frame(camera, captured_at=0.0, monotonic=0.0), box)


def test_a_picture_is_seen_as_it_is(image: Image):
    view = View.of(image)
    assert view.shape == (40, 60)
    assert view.image is image or np.shares_memory(view.image, image)
    assert View.of(view) is view


def test_parts_of_parts_are_in_their_own_pixels(image: Image):
    outer = View(Frame(image, captured_at=0.0, monotonic=0.0), (10, 5, 50, 35))
    inner = outer.part((4, 2, 14, 22))
    assert inner.shape == (20, 10)
    assert np.array_equal(inner.image, image[7:27, 14:24])


def test_a_part_is_clipped_and_never_empty(image: Image):
    assert View.of(image).part((50, 30, 90, 90)).shape == (10, 10)
    assert View.of(image).part((70, 50, 90, 90)).shape == (1, 1)


def test_stretching_is_opencvs(image: Image):
    view = View.of(image).part((0, 0, 30, 20)).stretched((48, 64))
    assert view.shape == (48, 64)
    assert np.array_equal(view.image, cv2.resize(image[:20, :30], (64, 48)))
    assert View.of(image).stretched(None).shape == (40, 60)


def test_sampling_converts_nothing(image: Image):
    camera = Camera(image)
    view = view_of(camera, (10, 10, 50, 30))
    assert view.shape == (20, 40)
    assert view.part((5, 5, 10, 10)).sampled((8, 8)).shape == (8, 8, 3)
    assert camera.sampled_boxes == [((15, 15, 20, 20), (8, 8))]
    assert camera.converted == 0


def test_the_reference_way_converts_once(image: Image):
    camera = Camera(image)
    view = view_of(camera)
    assert np.array_equal(view.image, image)
    assert np.array_equal(view.part((1, 2, 3, 4)).image, image[2:4, 1:3])
    assert camera.converted == 1
    assert camera.sampled_boxes == []


def test_what_cannot_be_sampled_is_cut_and_resized(image: Image):
    camera = Camera(image, samples=False)
    assert np.array_equal(view_of(camera).sampled((20, 30)), cv2.resize(image, (30, 20)))
    assert np.array_equal(View.of(image).sampled((20, 30)), cv2.resize(image, (30, 20)))


def test_saving_takes_what_is_there(image: Image):
    camera = Camera(image)
    view = view_of(camera).part((0, 0, 10, 10))
    assert (view.cheapest == 7).all()
    assert np.array_equal(view.image, image[:10, :10])
    assert np.array_equal(view.cheapest, image[:10, :10])
