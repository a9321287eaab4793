"""What models and actions look at: a frame, a part of it, a part brought to a size."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from siwatsystem.frames import Crop, Frame, Image, Size, clip_crop

T = TypeVar("T")


class View:
    """The part of a frame inside a box, stretched to a size where one is given. Nothing is converted
    before somebody looks; any thread may.

    There are two ways to its pixels. `image` is cut out of the whole converted frame, resized by
    OpenCV: the reference's way. `sampled` takes no more pixels than it needs straight from what the
    decoder gave, at a third of the cost, and differs by rounding and by the colour of edges.
    """

    __slots__ = ("_box", "_frame", "_size")

    def __init__(self, frame: Frame, box: Crop | None = None, size: Size | None = None) -> None:
        """`box` in pixels of the frame, clipped to it."""
        height, width = frame.shape
        self._frame = frame
        self._box: Crop = (0, 0, width, height) if box is None else clip_crop(box, width, height)
        self._size = size

    @classmethod
    def of(cls, picture: "Image | View") -> "View":
        """A view of an H×W×3 BGR picture; a view is itself."""
        return picture if isinstance(picture, View) else cls(Frame(picture, captured_at=0.0, monotonic=0.0))

    @property
    def shape(self) -> Size:
        x1, y1, x2, y2 = self._box
        return self._size or (y2 - y1, x2 - x1)

    @property
    def nbytes(self) -> int:
        """Of its pixels before they are stretched, as BGR."""
        x1, y1, x2, y2 = self._box
        return 3 * (y2 - y1) * (x2 - x1)

    @property
    def whole(self) -> Image:
        """The whole frame that it is a view of, H×W×3 BGR."""
        return self._frame.image

    @property
    def image(self) -> Image:
        """Its pixels, H×W×3 BGR, the reference's way."""
        return _resized(self._cut(), self.shape)

    def sampled(self, size: Size | None = None) -> Image:
        """Its pixels brought to `size` (None: as it is), H×W×3 BGR, the cheap way where there is one."""
        wanted = size or self.shape
        if self._frame.undeveloped is not None:
            found = self._frame.undeveloped.sampled(self._box, wanted)
            if found is not None:
                return found
        # Of a part that is stretched first and scaled then, one step is as good.
        return _resized(self._cut(), wanted)

    @property
    def cheapest(self) -> Image:
        """Its pixels by whichever way costs less now: for what nobody compares, such as saved images."""
        return self.image if self._frame.converted else self.sampled()

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What `make` gave for `key` on this part of this frame; see `Frame.once`."""
        return self._frame.once((self._box, self._size, key), make)

    def part(self, box: Crop) -> "View":
        """The part inside `box`, in pixels of this view, which must not be stretched."""
        assert self._size is None
        height, width = self.shape
        x1, y1, x2, y2 = clip_crop(box, width, height)
        left, top = self._box[:2]
        return View(self._frame, (left + x1, top + y1, left + x2, top + y2))

    def stretched(self, size: Size | None) -> "View":
        """The same part stretched to `size` (height, width); itself where that is None."""
        return self if size is None else View(self._frame, self._box, size)

    def _cut(self) -> Image:
        x1, y1, x2, y2 = self._box
        return self._frame.image[y1:y2, x1:x2]


def _resized(image: Image, size: Size) -> Image:
    if image.shape[:2] == size:
        return image
    import cv2

    resized: Any = cv2.resize(image, (size[1], size[0]))
    return np.asarray(resized, np.uint8)
