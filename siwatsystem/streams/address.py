"""Camera addresses: taken apart, and judged by the rules of the settings.

Pure: nothing is resolved or opened here. Who resolves a name asks `check_ip` about every address.
"""

import ipaddress
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, unquote

from siwatsystem.config import StreamSettings
from siwatsystem.errors import StreamRefused
from siwatsystem.networks import IPAddress, is_forbidden, literal_ip, reached

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)", re.DOTALL)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s/?#@:\[\]\\]+)(?::(\d{1,5}))?")
_WEBCAM = re.compile(r"(?:webcam:(?://)?)?(\d{1,3})")
_BAD = re.compile(r"[\x00-\x20\x7f]")
_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")
"""What no name of a file holds, and halves of characters."""


@dataclass(frozen=True)
class Address:
    """A camera's address. `target`: path and query; of a file its path, of a webcam its index."""

    scheme: str
    host: str = ""
    port: int = 0
    target: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def url(self, *, credentials: bool = True, host: str | None = None) -> str:
        """The address as text, user and password escaped so that any library reads them right.

        `host` stands in for the name, where it was resolved and checked before.
        """
        login = ""
        if credentials and self.user is not None:
            login = f"{quote(self.user, safe='')}:{quote(self.password or '', safe='')}@"
        name = host or self.host
        name = f"[{name}]" if ":" in name else name
        end = "" if self.port == DEFAULT_PORTS.get(self.scheme) else f":{self.port}"
        return f"{self.scheme}://{login}{name}{end}{self.target}"

    def at(self, target: str) -> "Address":
        """Another path on the same server, with the same user and password."""
        return replace(self, target=target)


def parse_address(url: str, settings: StreamSettings) -> Address:
    """`url` taken apart. Raises StreamRefused where the settings or its form forbid it.

    A webcam is `0`, `webcam:0` or `webcam://0`; a file is `file:///absolute/path` below `file_root`.
    """
    if _NO_TEXT.search(url):
        raise StreamRefused("the address holds characters that no address can have")
    if webcam := _WEBCAM.fullmatch(url):
        _allow_scheme("webcam", settings)
        return Address("webcam", target=webcam[1])
    match = _SCHEME.fullmatch(url)
    if match is None:
        raise StreamRefused("the address has no scheme such as rtsp://")
    scheme, rest = match[1].lower(), match[2]
    _allow_scheme(scheme, settings)
    if scheme == "file":
        return Address("file", target=str(_below_root(Path(unquote(rest)), settings.file_root)))
    if scheme not in DEFAULT_PORTS:
        raise StreamRefused(f"{scheme}:// cannot be opened")
    if _BAD.search(rest):
        raise StreamRefused("the address holds blanks or control characters")
    address = _network_address(scheme, rest)
    literal = literal_ip(address.host)
    if literal is not None:
        check_ip(literal, settings)
    return address


def check_ip(address: IPAddress, settings: StreamSettings) -> None:
    """Refuse an IP address that must not be talked to: never, or because it is in none of `networks`."""
    address = reached(address)
    if is_forbidden(address):
        raise StreamRefused(f"{address} is not an address that cameras may have")
    if settings.networks and not any(
        address in ipaddress.ip_network(n, strict=False) for n in settings.networks
    ):
        raise StreamRefused(f"{address} is in none of the networks that cameras may be in")


def _allow_scheme(scheme: str, settings: StreamSettings) -> None:
    # Naming a folder is what switches files on.
    if scheme in settings.schemes or (scheme == "file" and settings.file_root is not None):
        return
    raise StreamRefused(f"{scheme} addresses may not be opened here")


def _below_root(path: Path, root: Path | None) -> Path:
    if root is None:
        raise StreamRefused("file addresses may not be opened without streams.file_root")
    if "\0" in str(path):
        raise StreamRefused("the file's name holds a character that no name can have")
    resolved = path.resolve()
    if not path.is_absolute() or not resolved.is_relative_to(root.resolve()):
        raise StreamRefused("the file is not below streams.file_root")
    return resolved


def _network_address(scheme: str, rest: str) -> Address:
    login, host, tail = _split_login(rest)
    match = _HOST.fullmatch(host)
    if match is None or int(match[2] or 1) not in range(1, 65536):
        raise StreamRefused("the address names no host that could be reached")
    port = int(match[2]) if match[2] else DEFAULT_PORTS[scheme]
    address = Address(scheme, match[1].strip("[]"), port, tail or "/")
    if not login:
        return address
    user, _, password = login.partition(":")
    return replace(address, user=unquote(user), password=unquote(password))


def _split_login(rest: str) -> tuple[str, str, str]:
    """`user:password`, `host:port` and the rest, where the password may itself hold `@`, `:` or `/`.

    The user information ends at the last `@` before the path; where that leaves no host (because
    a `/` of the password was taken for the path's), at the first later `@` that does.
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
    return min((i for mark in "/?#" if (i := rest.find(mark, begin)) >= 0), default=len(rest))
