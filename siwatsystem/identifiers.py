"""What a table, column or schema may be called before its name comes near a database."""

import re

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def is_identifier(name: str) -> bool:
    """Whether `name` is one: letters, digits and _, not beginning with a digit, at most 63."""
    return _IDENTIFIER.fullmatch(name) is not None


def is_table_name(name: str) -> bool:
    """Whether `name` is `table` or `schema.table`."""
    parts = name.split(".")
    return len(parts) <= 2 and all(map(is_identifier, parts))
