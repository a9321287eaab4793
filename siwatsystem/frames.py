"""A captured frame: the value that flows from a source to everything else."""

import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

Image = NDArray[np.uint8]
"""A picture: height × width × 3, blue-green-red, 8 bits a channel."""

PICTURE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"])
"""Of files that hold one picture."""

Crop = tuple[int, int, int, int]
"""x1, y1, x2, y2 in full-frame pixels, x2 and y2 outside."""

Size = tuple[int, int]
"""Height and width in pixels."""


class Undeveloped(Protocol):
    """A picture as a decoder has it: not BGR yet, and perhaps never all of it."""

    @property
    def shape(self) -> Size: ...

    def whole(self) -> Image:
        """All of it, H×W×3 BGR."""
        ...

    def sampled(self, box: Crop, size: Size) -> Image | None:
        """The part inside `box` brought to `size`, without converting the rest; None where that cannot
        be done."""
        ...


class Frame:
    """One picture of one source, never changed after capture.

    `sequence` counts up from 1 within a source (never reused after a reconnect), `captured_at` is
    the wall clock (seconds since 1970, UTC), `monotonic` the same moment on the clock that ages
    are measured with. The picture may be handed over as the decoder has it, or as a function that
    makes it, so that frames nobody looks at cost nothing.
    """

    __slots__ = (
        "_cache",
        "_convert",
        "_image",
        "_keeping",
        "_lock",
        "captured_at",
        "monotonic",
        "sequence",
        "undeveloped",
    )

    def __init__(
        self,
        image: Image | Callable[[], Image] | Undeveloped,
        *,
        captured_at: float,
        monotonic: float,
        sequence: int = 1,
    ) -> None:
        self.captured_at = captured_at
        self.monotonic = monotonic
        self.sequence = sequence
        self._lock = threading.RLock()
        self._keeping = threading.RLock()
        self._cache: dict[Any, Any] = {}
        self._image: Image | None = None
        self._convert: Callable[[], Image] | None = None
        self.undeveloped: Undeveloped | None = None
        """What can be sampled without converting the whole; None where the picture came as BGR."""
        if isinstance(image, np.ndarray):
            self._image = image
        elif callable(image):
            self._convert = image
        else:
            self.undeveloped = image
            self._convert = image.whole

    @property
    def shape(self) -> Size:
        return self.image.shape[:2] if self.undeveloped is None else self.undeveloped.shape

    @property
    def converted(self) -> bool:
        """Whether the whole picture is there as BGR."""
        return self._image is not None

    @property
    def image(self) -> Image:
        """The whole picture, H×W×3 BGR; converted once however many ask."""
        with self._lock:
            if self._image is None:
                assert self._convert is not None
                self._image = self._convert()
                self._convert = None
            return self._image

    def cropped(self, crop: Crop | None) -> Image:
        """A view of the part inside `crop`, clipped to the picture (at least one pixel)."""
        if crop is None:
            return self.image
        height, width = self.image.shape[:2]
        x1, y1, x2, y2 = clip_crop(crop, width, height)
        return self.image[y1:y2, x1:x2]

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What `make` gave for `key` on this frame; made by whoever asks first.

        Never waits for a conversion that is under way: the event loop asks here.
        """
        with self._keeping:
            if key not in self._cache:
                self._cache[key] = make()
            return self._cache[key]


def clip_crop(crop: Crop, width: int, height: int) -> Crop:
    """`crop` inside a picture of that size; never empty."""
    x1 = min(max(crop[0], 0), width - 1)
    y1 = min(max(crop[1], 0), height - 1)
    return x1, y1, max(min(crop[2], width), x1 + 1), max(min(crop[3], height), y1 + 1)


def encode_jpeg(image: Image, quality: int = 90) -> bytes:
    """The picture as JPEG. Raises ValueError for a picture that cannot be encoded."""
    return _encode(image, ".jpg", quality)


def encode_png(image: Image) -> bytes:
    """The picture as PNG. Raises ValueError for a picture that cannot be encoded."""
    return _encode(image, ".png", None)


def _encode(image: Image, suffix: str, quality: int | None) -> bytes:
    import cv2

    if image.size == 0 or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a picture of shape {image.shape} and type {image.dtype} cannot be encoded")
    flags = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, data = cv2.imencode(suffix, image, flags)
    if not done:
        raise ValueError(f"a picture of shape {image.shape} could not be encoded as {suffix}")
    return data.tobytes()
