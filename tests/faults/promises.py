"""All promises, in the order of the page."""

from tests.faults import cameras, clients
from tests.faults.promise import Promise

PROMISES: tuple[Promise, ...] = (*cameras.PROMISES, *clients.PROMISES)
