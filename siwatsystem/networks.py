"""Where an IP address leads, and which ones no server may have, be it a camera's or an archive's."""

import ipaddress
import queue
import socket
import threading

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_CARRYING = tuple(
    ipaddress.IPv6Network(each)
    for each in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")  # NAT64, NAT64 of a site, IPv4-compatible
)
"""Networks whose addresses end with the IPv4 address that they lead to."""
_METADATA = frozenset(
    map(ipaddress.ip_address, ("fd00:ec2::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"))
)
"""What clouds tell machines about themselves, passwords among it, outside of the link-local networks."""


def literal_ip(host: str) -> IPAddress | None:
    """The IP address that `host` is, without a zone; None for a name, which says nothing yet."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def reached(address: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 one leads to (mapped, compatible, NAT64, 6to4), else itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if int(address) > 1 and any(address in network for network in _CARRYING):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_forbidden(address: IPAddress) -> bool:
    """Whether `address` must never be connected to, whatever the settings say.

    Link-local addresses and the metadata services of clouds, and those that name no machine.
    """
    there = reached(address)
    return there in _METADATA or there.is_link_local or there.is_multicast or there.is_unspecified


def addresses_of(host: str, port: int, timeout: float) -> list[str]:
    """The addresses of a name, in the resolver's order, each once.

    Raises OSError where it has none, and where it was not resolved within `timeout` seconds.
    """
    answer: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()
    # The system's resolver cannot be interrupted: a thread is left behind where it is late.
    threading.Thread(target=_look_up, args=(host, port, answer), name="resolve", daemon=True).start()
    try:
        found = answer.get(timeout=timeout)
    except queue.Empty:
        raise OSError(f"{host} was not resolved within {timeout:g} s") from None
    if isinstance(found, OSError):
        raise found
    return found


def _look_up(host: str, port: int, answer: "queue.SimpleQueue[list[str] | OSError]") -> None:
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (UnicodeError, OSError) as error:
        answer.put(OSError(f"{host}: no such host ({getattr(error, 'strerror', None) or error})"))
    else:
        answer.put(list(dict.fromkeys(str(each[4][0]) for each in answers)))
