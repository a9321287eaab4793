"""Cameras and archives of the acceptance tests, and the small networks."""

from tests.acceptance.conftest import archives, station
from tests.nets import nets

__all__ = ["archives", "nets", "station"]
