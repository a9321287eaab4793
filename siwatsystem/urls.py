"""Addresses as people write them, with passwords that hold `@`, `:`, `/`, `?` and `#` as they are."""

import re
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s/?#@:\[\]\\]+)(?::\d{1,5})?")


def split(url: str) -> SplitResult:
    """`urlsplit`, with the user information found first and escaped.

    Raises ValueError, which quotes nothing: without a host, and where one more `@` after a login leaves open
    whether what stands before it is the path or the password.
    """
    scheme, mark, rest = url.partition("://")
    if mark and scheme.lower() != "file":
        login, host, tail = _split_login(rest)
        if not host:
            raise ValueError("it names no host that could be reached")
        if login and "@" in tail:
            raise ValueError("it holds more than one @: write those but the one before the host as %40")
        user, colon, password = (_escaped(part) for part in login.partition(":"))
        url = f"{scheme}://{user}{':' if colon else ''}{password}{'@' if login else ''}{host}{tail}"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("it names no host that could be reached") from None
    return parts


def bare(url: str) -> str:
    """`url` without user information, query and fragment: what names a file and may be shown."""
    try:
        parts = split(url)
    except ValueError:
        return "no address"
    return urlunsplit((parts.scheme.lower(), parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _escaped(text: str) -> str:
    return quote(unquote(text), safe="")


def _split_login(rest: str) -> tuple[str, str, str]:
    """`user:password`, `host:port` and what follows; empty ones where there is no host.

    The user information ends at the last `@` before the path; where that leaves no host (because a `/` of
    the password was taken for the path's), at the first later `@` that does.
    """
    end = _path_start(rest, 0)
    at = rest.rfind("@", 0, end)
    if _HOST.fullmatch(rest[at + 1 : end]):
        return rest[: max(at, 0)], rest[at + 1 : end], rest[end:]
    while (at := rest.find("@", at + 1)) >= 0:
        end = _path_start(rest, at)
        if _HOST.fullmatch(rest[at + 1 : end]):
            return rest[:at], rest[at + 1 : end], rest[end:]
    return "", "", ""


def _path_start(rest: str, begin: int) -> int:
    return min((at for mark in "/?#" if (at := rest.find(mark, begin)) >= 0), default=len(rest))
