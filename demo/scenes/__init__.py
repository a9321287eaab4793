"""Rendered fuel-station scenes with exact truth: `render(seed, size)` and the moving `Clip`."""

from .clip import Clip, Visit
from .scene import Scene, render
from .truth import CarTruth

__all__ = ["CarTruth", "Clip", "Scene", "Visit", "render"]
