"""Where an IP address leads, and which ones no server may have, be it a camera's or an archive's."""

import ipaddress

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
