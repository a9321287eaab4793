"""Which build this is: what the image was made of, told by the variables that its Dockerfile sets."""

import os
import platform
from dataclasses import dataclass

from siwatsystem import __version__


@dataclass(frozen=True)
class BuildInfo:
    """Version and origin of the running code."""

    version: str
    revision: str | None
    """The commit that an image was built of; None outside of images."""
    built_at: str | None
    """When the image was built (RFC 3339, UTC); None outside of images."""
    python: str


def build_info() -> BuildInfo:
    """Of this process. Empty variables count as none: `--build-arg` was not given then."""
    return BuildInfo(
        version=__version__,
        revision=os.environ.get("BUILD_REVISION") or None,
        built_at=os.environ.get("BUILD_TIME") or None,
        python=platform.python_version(),
    )
