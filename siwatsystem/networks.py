"""Where an IP address leads, and which ones no server may have, be it a camera's or an archive's."""

import ipaddress

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def literal_ip(host: str) -> IPAddress | None:
    """The IP address that `host` is, without a zone; None for a name, which says nothing yet."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def reached(address: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 one leads to (mapped, NAT64, 6to4), else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_forbidden(address: IPAddress) -> bool:
    """Whether `address` must never be connected to, whatever the settings say.

    Link-local addresses (the metadata services of clouds live there), and those that name no machine.
    """
    there = reached(address)
    return there.is_link_local or there.is_multicast or there.is_unspecified
