"""What names a source: two subscriptions with equal specs share one capture."""

import hashlib
from dataclasses import dataclass

from siwatsystem.logs import redact


@dataclass(frozen=True)
class SourceSpec:
    """An address, and for snapshots the milliseconds between two fetches (None for streams)."""

    url: str
    snapshot_interval_ms: int | None = None

    @property
    def label(self) -> str:
        """A name for logs, threads and metrics that tells nothing of the address: `cam-1a2b3c4d`."""
        named = f"{self.url}\n{self.snapshot_interval_ms}"
        return f"cam-{hashlib.sha256(named.encode()).hexdigest()[:8]}"

    @property
    def redacted(self) -> str:
        """The address without user information and query."""
        return redact(self.url)

    def __repr__(self) -> str:
        return f"SourceSpec({self.redacted!r}, {self.snapshot_interval_ms!r})"
