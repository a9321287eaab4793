"""What every kind of camera offers to the capture thread."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from siwatsystem.config import Settings
from siwatsystem.frames import Image
from siwatsystem.streams.address import Address
from siwatsystem.streams.spec import SourceSpec
from siwatsystem.streams.stop import Stop

Picture = Image | Callable[[], Image]
"""A picture, or the function that makes it when somebody looks."""


class Reader(Protocol):
    """An open camera, used by one thread."""

    def read(self) -> Picture:
        """Wait for the next picture. Raises StreamError; returns or raises soon after the stop."""
        ...

    def close(self) -> None:
        """Give everything back; does not raise and does not wait for the camera."""
        ...


@dataclass(frozen=True)
class Opening:
    """All that an opener needs to know. `decode_error` is called for each packet that is broken."""

    spec: SourceSpec
    address: Address
    settings: Settings
    stop: Stop
    decode_error: Callable[[], None]


Opener = Callable[[Opening], Reader]
"""Connects to a camera. Raises StreamError; ends soon after the stop."""
