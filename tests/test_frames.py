import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from siwatsystem.frames import Frame, clip_crop, encode_jpeg, encode_png


def picture(width: int = 40, height: int = 20) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[:, width // 2 :] = (0, 0, 255)
    return image


def test_a_lazy_picture_is_converted_once_for_many_threads():
    calls: list[int] = []

    def convert() -> np.ndarray:
        calls.append(1)
        return picture()

    frame = Frame(convert, captured_at=1.0, monotonic=2.0)
    assert calls == []
    threads = [threading.Thread(target=lambda: frame.image) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]


def test_once_makes_a_thing_once_per_key():
    frame = Frame(picture(), captured_at=1.0, monotonic=2.0)
    made: list[str] = []
    for key in ("a", "b", "a"):
        assert frame.once(key, lambda key=key: made.append(key) or key.upper()) == key.upper()
    assert made == ["a", "b"]


@pytest.mark.parametrize(
    ("crop", "clipped"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4)),
        ((-5, -5, 100, 100), (0, 0, 40, 20)),
        ((50, 50, 60, 60), (39, 19, 40, 20)),
    ],
)
def test_a_crop_is_clipped_and_never_empty(
    crop: tuple[int, int, int, int], clipped: tuple[int, int, int, int]
):
    assert clip_crop(crop, 40, 20) == clipped
    frame = Frame(picture(), captured_at=1.0, monotonic=2.0)
    assert frame.cropped(crop).shape == (clipped[3] - clipped[1], clipped[2] - clipped[0], 3)


def test_encoding_keeps_the_picture():
    for data in (encode_jpeg(picture()), encode_png(picture())):
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        assert np.abs(decoded.astype(int) - picture()).mean() < 5


def test_what_is_no_picture_is_refused():
    for bad in (np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ValueError, match="cannot be encoded"):
            encode_jpeg(bad)


def test_what_is_kept_is_had_while_the_picture_is_being_converted():
    """The event loop asks for it: it must not wait for another thread's conversion."""
    begun, go_on = threading.Event(), threading.Event()

    def convert() -> np.ndarray:
        begun.set()
        assert go_on.wait(10)
        return np.zeros((4, 6, 3), np.uint8)

    frame = Frame(convert, captured_at=1.0, monotonic=1.0)
    with ThreadPoolExecutor(2) as threads:
        converting = threads.submit(lambda: frame.image)
        assert begun.wait(10)
        kept = threads.submit(frame.once, "key", lambda: "made")
        try:
            assert kept.result(5) == "made"
        finally:
            go_on.set()
        assert converting.result(10).shape == (4, 6, 3)
