"""A decoded frame's planes to BGR pixels: the whole picture, or just as many pixels as are looked at.

Whole pictures are converted by FFmpeg's swscale. Parts and small pictures are sampled from the planes
with OpenCV's bilinear resize, which takes the same pixels that the reference's letterbox takes of the
converted picture; swscale's own scaling takes others, and networks see the difference.
"""

import functools
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

from siwatsystem.frames import Crop, Image, Size

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Bytes = NDArray[np.uint8]

_PLANAR = frozenset(["yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"])
_INTERLEAVED = frozenset(["nv12"])
_BLOCK = 16
"""Side of a block of one colour, in pixels: more than any chroma sampling reaches."""
_LUMA, _CHROMA = (60, 120, 180), (112, 128, 144)
"""Colours whose BGR values are far from 0 and 255."""


class Decoded:
    """The picture of a decoder's frame. Any thread may look at it, several at a time."""

    def __init__(self, frame: "VideoFrame") -> None:
        self._frame = frame

    @property
    def shape(self) -> Size:
        return self._frame.height, self._frame.width

    def whole(self) -> Image:
        """The whole picture, H×W×3 BGR, as swscale converts it."""
        return cast(Image, self._frame.to_ndarray(format="bgr24"))

    def sampled(self, box: Crop, size: Size) -> Image | None:
        """The part inside `box` brought to `size` (height, width), BGR; None for a kind of frame whose
        planes cannot be sampled (10 bits, RGB)."""
        import cv2

        frame = self._frame
        if frame.format.name not in _PLANAR | _INTERLEAVED:
            return None
        to_bgr = _measured(frame.format.name, int(frame.colorspace), int(frame.color_range))
        height, width = size
        parts = [_part(plane, box, self.shape) for plane in _planes(frame)]
        scaled = [cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR) for part in parts]
        return cast(Image, cv2.transform(cv2.merge(scaled), to_bgr))


def decoded_from(image: Image) -> Decoded:
    """`image` (H×W×3 BGR) in the form that a camera's pictures have (4:2:0); a side of odd length gets one
    pixel more."""
    import cv2
    from av.video.frame import VideoFrame

    height, width = image.shape[:2]
    even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    # OpenCV rounds where swscale cuts off: colours stay what they are.
    planes = cast(Bytes, cv2.cvtColor(even, cv2.COLOR_BGR2YUV_I420))
    return Decoded(VideoFrame.from_ndarray(planes, format="yuv420p"))


def _planes(frame: "VideoFrame") -> list[Bytes]:
    """Views of the planes: luma H×W, then chroma, smaller; of NV12 the second is h×w×2."""
    out: list[Bytes] = []
    for index, plane in enumerate(frame.planes):
        rows = np.frombuffer(memoryview(cast(Buffer, plane)), np.uint8).reshape(-1, plane.line_size)[
            : plane.height
        ]
        if index and frame.format.name in _INTERLEAVED:
            out.append(rows[:, : 2 * plane.width].reshape(plane.height, plane.width, 2))
        else:
            out.append(rows[:, : plane.width])
    return out


def _part(plane: Bytes, box: Crop, shape: Size) -> Bytes:
    """The plane's pixels inside `box`, which is in pixels of the picture."""
    x1, y1, x2, y2 = box
    # Planes are whole, halved or quartered; a picture of odd size has one sample more than its half.
    across, down = round(shape[1] / plane.shape[1]), round(shape[0] / plane.shape[0])
    return plane[y1 // down : -(-y2 // down), x1 // across : -(-x2 // across)]


@functools.lru_cache(maxsize=64)
def _measured(kind: str, colorspace: int, color_range: int) -> NDArray[np.float32]:
    """3×4: a pixel's Y, U, V and 1 to B, G, R, as swscale converts frames of that kind.

    Fitted to what it makes of known colours, so that both ways agree whatever the matrix, the range and
    its own rounding are.
    """
    from av.video.frame import VideoFrame

    colours = [(y, u, v) for y in _LUMA for u in _CHROMA for v in _CHROMA]
    frame = VideoFrame(_BLOCK * len(colours), _BLOCK, kind)
    frame.colorspace, frame.color_range = colorspace, color_range
    chart = np.repeat(np.array(colours, np.uint8)[None], _BLOCK, axis=0)
    for index, plane in enumerate(frame.planes):
        across = frame.width // plane.width
        rows = np.zeros((plane.buffer_size // plane.line_size, plane.line_size), np.uint8)
        values = chart[0, :, index : index + 1]
        if index and kind in _INTERLEAVED:
            values = chart[0, :, 1:]
        line = np.repeat(values, _BLOCK // across, axis=0).ravel()
        rows[: plane.height, : line.size] = line
        plane.update(rows.tobytes())
    middle = _BLOCK // 2
    seen = frame.to_ndarray(format="bgr24")[middle, middle::_BLOCK].astype(np.float64)
    known = np.column_stack((np.array(colours, np.float64), np.ones(len(colours))))
    fitted, *_ = np.linalg.lstsq(known, seen, rcond=None)
    return np.ascontiguousarray(fitted.T, np.float32)
