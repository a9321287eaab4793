"""All promises, in the order of the page."""

from tests.faults import cameras, clients, servers
from tests.faults.promise import Promise

PROMISES: tuple[Promise, ...] = (*cameras.PROMISES, *servers.PROMISES, *clients.PROMISES)
