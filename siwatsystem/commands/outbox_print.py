"""How `siwat outbox` shows actions on a terminal."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from siwatsystem.actions.reading import Row, Sums
from siwatsystem.commands import console
from siwatsystem.logs import redact

if TYPE_CHECKING:
    from rich.console import Console


def print_rows(rows: list[Row], sums: Sums, now: float) -> None:
    """A table of the rows, and a line about all that fit. `now`: Unix time."""
    from rich.table import Table
    from rich.text import Text

    out = _console()
    if rows:
        table = Table("seq", "state", "server", "kind", "session", "age", "attempts", "bytes", "why")
        for row in rows:
            cells = (
                *(str(row.seq), row.state, row.server, row.kind, row.session or "–"),
                *(
                    age_words(now - row.created),
                    str(row.attempts),
                    size_words(row.size),
                    _why(row),
                ),
            )
            style = "red" if row.state == "failed" else ""
            table.add_row(*(Text(cell, style=style) for cell in cells))
        out.print(table)
    more = sums.waiting + sums.failed - len(rows)
    rest = f"; {more} more are not shown" if more > 0 else ""
    out.print(f"{sums.waiting} waiting, {sums.failed} failed, {size_words(sums.size)}{rest}")


def print_job(row: Row, payload: Mapping[str, Any], picture: int | None, now: float) -> None:
    """All about one action. `now`: Unix time."""
    from rich.text import Text

    out = _console()
    facts = {
        "action": f"{row.seq} ({row.state})",
        "kind": row.kind,
        "server": row.server,
        "session": row.session,
        "subscription": row.subscription,
        "event": row.event,
        "made": f"{_moment(row.created)}, {age_words(now - row.created)} ago",
        "attempts": row.attempts,
        "last error": None if row.error is None else redact(row.error),
        "waits": None if row.behind is None else f"behind {row.behind}",
        "next attempt": None if row.due is None or row.due <= now else _moment(row.due),
        "given up": None if row.failed_at is None else _moment(row.failed_at),
        "expires": None if row.expires_at is None else _moment(row.expires_at),
        "picture": None if picture is None else f"{size_words(picture)} (save it with --save FILE)",
    }
    for name, fact in facts.items():
        if fact is not None:
            out.print(Text(f"{name:13}{fact}"))
    for name, value in payload.items():
        out.print(Text(f"{name:13}{_readable(value)}"))


def age_words(seconds: float) -> str:
    """As `3 min`; the largest unit alone."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def size_words(size: int) -> str:
    """As `12.3 kB`."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size} B"


def _why(row: Row) -> str:
    """What keeps a job: what its server said last, else the job before it, which goes first."""
    if row.error is not None:
        return redact(row.error)
    return "" if row.behind is None else f"behind {row.behind}"


def _readable(value: Any) -> str:
    """A message that is JSON is spread over lines."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, ensure_ascii=False, indent=1)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _console() -> "Console":
    from rich.console import Console

    out = Console(highlight=False, markup=False)
    if not out.is_terminal:
        out.width = console.PIPED_WIDTH
    return out
