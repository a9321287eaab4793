"""A picture in the terminal, as well as that can: sixel or kitty graphics, else coloured half blocks."""

import logging
import os
import sys
from io import BytesIO

from rich.console import Console

_MOST_COLUMNS = 100


def show_picture(data: bytes) -> bool:
    """Draw an encoded picture (JPEG, PNG) on stdout; False where there is no terminal to draw on.

    Raises ValueError for bytes that are no picture.
    """
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return False
    # It says at length which terminal it takes yours for.
    logging.getLogger("textual_image").setLevel(logging.CRITICAL)
    from PIL import Image as Pictures
    from textual_image.renderable import Image

    try:
        picture = Pictures.open(BytesIO(data))
        picture.load()
    except (OSError, Pictures.DecompressionBombError, SyntaxError) as error:
        raise ValueError(f"it is no picture: {error}") from None
    console = Console()
    try:
        console.print(Image(picture, width=min(console.width, _MOST_COLUMNS), height="auto"))
    except ZeroDivisionError:
        return False  # a terminal that does not know its size
    return True
