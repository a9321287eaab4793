"""The test picture: an orange square with its own number in eight fields, black or white, in its middle.

A picture's number says how old it is, without trusting anybody's clock: the camera knows when it showed it.
"""

from typing import Any

import numpy as np

from siwatsystem.frames import Image

SIZE = 320
"""Pixels of each side."""
BOX = (64, 64, 256, 256)
"""Where the number stands, which is what the archive's detector finds: x1, y1, x2, y2."""
ROWS, COLUMNS = 2, 4
NUMBERS = 2 ** (ROWS * COLUMNS)
BACKGROUND = (40, 120, 200)
"""Blue, green, red."""


def draw(number: int) -> Image:
    """The picture that bears `number`, modulo `NUMBERS`: H×W×3 BGR."""
    picture: Image = np.full((SIZE, SIZE, 3), BACKGROUND, np.uint8)
    for bit, (x1, y1, x2, y2) in enumerate(_fields()):
        picture[y1:y2, x1:x2] = 255 if number >> bit & 1 else 0
    return picture


def number_of(picture: Image) -> int:
    """The number that a whole picture bears."""
    number = 0
    for bit, (x1, y1, x2, y2) in enumerate(_fields()):
        inner = picture[y1 + 12 : y2 - 12, x1 + 12 : x2 - 12]
        number |= int(float(inner.mean()) > 127) << bit
    return number


def decode(jpeg: bytes) -> Image | None:
    """The picture, H×W×3 BGR; None where it is none."""
    import cv2

    found: Any = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) if jpeg else None
    return found


def _fields() -> list[tuple[int, int, int, int]]:
    """The fields row by row, the lowest bit first."""
    left, top, right, bottom = BOX
    width, height = (right - left) // COLUMNS, (bottom - top) // ROWS
    return [
        (left + column * width, top + row * height, left + (column + 1) * width, top + (row + 1) * height)
        for row in range(ROWS)
        for column in range(COLUMNS)
    ]
