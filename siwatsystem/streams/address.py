"""Camera addresses: taken apart, and judged by the rules of the settings.

Pure: nothing is resolved or opened here. Resolving is the openers' work, which then ask
`check_host_address` about every address they are about to talk to.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from siwatsystem.config import StreamSettings
from siwatsystem.errors import StreamRefused

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://(.*)", re.DOTALL)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s/?#@:\[\]\\]+)(?::(\d{1,5}))?")
_WEBCAM = re.compile(r"(?:webcam:(?://)?)?(\d{1,3})")
_BAD = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True)
class Address:
    """A camera's address. `rest` is what follows host and port: path and query."""

    scheme: str
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    rest: str = ""
    path: Path | None = None
    index: int = 0

    @property
    def bare(self) -> str:
        """The address without user and password."""
        return f"{self.scheme}://{self._authority}{self.rest}"

    @property
    def full(self) -> str:
        """The address with user and password, escaped so that any library reads them right."""
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.user else ""
        return f"{self.scheme}://{login}{self._authority}{self.rest}"

    @property
    def _authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"


def parse(url: str, settings: StreamSettings) -> Address:
    """`url` taken apart. Raises StreamRefused where the settings or its form forbid it.

    A webcam is `0`, `webcam:0` or `webcam://0`; a file is `file:///absolute/path` below `file_root`.
    """
    if webcam := _WEBCAM.fullmatch(url):
        _allow_scheme("webcam", settings)
        return Address("webcam", index=int(webcam[1]))
    match = _SCHEME.fullmatch(url)
    if match is None:
        raise StreamRefused("the address has no scheme such as rtsp://")
    scheme, rest = match[1].lower(), match[2]
    _allow_scheme(scheme, settings)
    if scheme == "file":
        return Address("file", path=_below_root(Path(unquote(rest)), settings.file_root))
    if scheme not in DEFAULT_PORTS:
        raise StreamRefused(f"{scheme}:// cannot be opened")
    if _BAD.search(rest):
        raise StreamRefused("the address holds blanks or control characters")
    address = _network_address(scheme, rest)
    check_host_address(address.host, settings)
    return address


def check_host_address(host: str, settings: StreamSettings) -> None:
    """Refuse an IP address that must not be talked to; names pass, for they say nothing yet.

    Link-local addresses are refused always (the metadata services of clouds live there), others
    where `networks` is given and none holds it.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        raise StreamRefused(f"{address} is not an address that cameras may have")
    if settings.networks and not any(address in ipaddress.ip_network(n) for n in settings.networks):
        raise StreamRefused(f"{address} is in none of the networks that cameras may be in")


def _allow_scheme(scheme: str, settings: StreamSettings) -> None:
    # Naming a folder is what switches files on.
    if scheme in settings.schemes or (scheme == "file" and settings.file_root is not None):
        return
    raise StreamRefused(f"{scheme} addresses may not be opened here")


def _below_root(path: Path, root: Path | None) -> Path:
    if root is None:
        raise StreamRefused("file addresses may not be opened without streams.file_root")
    resolved = path.resolve()
    if not path.is_absolute() or not resolved.is_relative_to(root.resolve()):
        raise StreamRefused("the file is not below streams.file_root")
    return resolved


def _network_address(scheme: str, rest: str) -> Address:
    login, host, tail = _split_login(rest)
    match = _HOST.fullmatch(host)
    if match is None or int(match[2] or 1) not in range(1, 65536):
        raise StreamRefused("the address names no host that could be reached")
    user, _, password = login.partition(":")
    port = int(match[2]) if match[2] else DEFAULT_PORTS[scheme]
    return Address(scheme, match[1].strip("[]"), port, unquote(user), unquote(password), tail or "/")


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
