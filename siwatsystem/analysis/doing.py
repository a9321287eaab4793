"""Actions that are done while something is analysed, in an outbox of the data directory."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from siwatsystem.analysis.actions import Actions
from siwatsystem.config import Settings


@contextmanager
def actions_of(settings: Settings, *, do: bool) -> Generator[Actions]:
    """What a pipeline gives its actions to; where they are not to be done, nothing is opened."""
    if not do:
        yield Actions()
        return
    from siwatsystem.actions.outbox import Outbox
    from siwatsystem.embedded.servers import EmbeddedServers

    folder = settings.data_dir
    servers = EmbeddedServers(
        folder, redis_port=settings.embedded.redis_port, postgresql_port=settings.embedded.postgresql_port
    )
    with ExitStack() as stack:
        stack.callback(servers.close)

        def outbox() -> Outbox:
            opened = Outbox(settings.outbox, folder / "outbox.sqlite", embedded=servers)
            stack.callback(opened.close)
            return opened

        yield Actions(outbox)
