"""Preparation of pictures for classification, against torchvision's own."""

import numpy as np
import pytest

from siwatsystem.runtime.classify import resize_and_crop


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("size", [(96, 96), (64, 128)])
def test_pictures_are_those_of_torchvision(size: tuple[int, int]):
    from PIL import Image
    from torchvision.transforms import CenterCrop, Resize

    rng = np.random.default_rng(2)
    resize = Resize(size[0] if size[0] == size[1] else size)
    for height, width in [(300, 200), (200, 301), (97, 96), (40, 50), (64, 128), (5, 90)]:
        image = rng.integers(0, 255, (height, width, 3), np.uint8)
        theirs = np.asarray(CenterCrop(size)(resize(Image.fromarray(image))))
        assert np.array_equal(resize_and_crop(image, size), theirs)


def test_a_part_of_a_picture_may_be_given():
    image = np.random.default_rng(3).integers(0, 255, (200, 300, 3), np.uint8)
    part = image[10:90:1, 20:200]
    assert np.array_equal(resize_and_crop(part, (32, 32)), resize_and_crop(part.copy(), (32, 32)))
