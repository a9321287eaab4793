"""What every kind of camera offers to the capture thread."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from siwatsystem.config import StreamSettings
from siwatsystem.frames import Image, Undeveloped
from siwatsystem.streams.address import Address
from siwatsystem.streams.cutoff import Cutoff
from siwatsystem.streams.policy import InForce
from siwatsystem.streams.spec import SourceSpec


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, or what it is made of when somebody looks, and when it arrived."""

    image: Image | Callable[[], Image] | Undeveloped
    captured_at: float
    """Seconds since 1970."""
    monotonic: float


@dataclass(slots=True)
class Decoding:
    """How a source is decoded at the moment: set by its reader's thread, read by any."""

    policy: InForce = "all"
    """Which packets are decoded."""
    keyframe_sec: float | None = None
    """Seconds between the newest two keyframes; None before there were two."""
    device: str = "cpu"


class Reader(Protocol):
    """An open camera, used by one thread."""

    def read(self) -> Picture | None:
        """Wait for the next picture; None: not yet, ask again. Raises StreamError."""
        ...

    def close(self) -> None:
        """Give everything back; does not wait for the camera."""
        ...


@dataclass(frozen=True)
class Opening:
    """All that an opener needs to know; what blocks is attached to `cutoff`."""

    spec: SourceSpec
    address: Address
    settings: StreamSettings
    cutoff: Cutoff
    interval_sec: float
    """How often a frame is needed."""
    decoding: Decoding = field(default_factory=Decoding)
    """Where the reader tells how it decodes."""
    stale_after_sec: float = 30.0
    """A picture that is older is of no use."""


Opener = Callable[[Opening], Reader]
