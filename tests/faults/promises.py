"""All promises, in the order of the page."""

from tests.faults import apps, cameras, clients, endings, servers
from tests.faults.promise import Promise

PROMISES: tuple[Promise, ...] = (
    *cameras.PROMISES,
    *servers.PROMISES,
    *endings.PROMISES,
    *clients.PROMISES,
    *apps.PROMISES,
)
