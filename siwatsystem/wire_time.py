"""How times are written for other programs."""

from datetime import UTC, datetime


def wire_time(seconds: float) -> str:
    """Seconds since 1970 as `2025-07-14T12:34:56.789Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
