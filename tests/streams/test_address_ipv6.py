"""Link-local addresses stay refused when an IPv6 address stands for them."""

from ipaddress import ip_address

import pytest

from siwatsystem.config import StreamSettings
from siwatsystem.errors import StreamRefused
from siwatsystem.streams.address import check_ip, parse_address


@pytest.mark.parametrize(
    "ip", ["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "fe80::1"]
)
def test_link_local_inside_ipv6_is_refused(ip: str) -> None:
    with pytest.raises(StreamRefused):
        check_ip(ip_address(ip), StreamSettings())
    with pytest.raises(StreamRefused):
        parse_address(f"rtsp://[{ip}]/cam", StreamSettings())


@pytest.mark.parametrize("ip", ["::1", "fd00::7", "64:ff9b::c0a8:1", "::ffff:192.168.0.1"])
def test_ordinary_addresses_pass(ip: str) -> None:
    check_ip(ip_address(ip), StreamSettings())


def test_a_network_may_be_written_with_host_bits() -> None:
    settings = StreamSettings(networks=("192.168.7.1/24",))
    check_ip(ip_address("192.168.7.20"), settings)
    with pytest.raises(StreamRefused):
        check_ip(ip_address("192.168.8.20"), settings)
