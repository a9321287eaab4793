"""From a host's name to the one checked address that is connected to."""

import socket
import threading
from ipaddress import ip_address

from siwatsystem.config import StreamSettings
from siwatsystem.errors import StreamUnreachable
from siwatsystem.networks import literal_ip
from siwatsystem.streams.address import check_ip
from siwatsystem.streams.cutoff import Cutoff


def resolve(host: str, settings: StreamSettings, cutoff: Cutoff) -> str:
    """The address to connect to; see `resolve_all`."""
    return resolve_all(host, settings, cutoff)[0]


def resolve_all(host: str, settings: StreamSettings, cutoff: Cutoff) -> list[str]:
    """The addresses of a name, each of which may be connected to: one that may not refuses them all.

    Raises StreamUnreachable when the name has none, StreamRefused when one may not be opened.
    """
    literal = literal_ip(host)
    found = [str(literal)] if literal else _look_up(host, settings.connect_timeout_sec, cutoff)
    for ip in found:
        check_ip(ip_address(ip), settings)
    return found


def _look_up(host: str, timeout: float, cutoff: Cutoff) -> list[str]:
    # The system's resolver cannot be interrupted: it gets a thread that is left behind when it is late.
    done = threading.Event()
    found: list[str] = []

    def ask() -> None:
        try:
            for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
                found.append(str(address[0]))
        except (OSError, UnicodeError):
            pass
        finally:
            done.set()

    detach = cutoff.attach(done.set)
    try:
        threading.Thread(target=ask, name="resolve", daemon=True).start()
        in_time = done.wait(timeout)
    finally:
        detach()
    if not in_time:
        raise StreamUnreachable(f"{host}: the name was not resolved within {timeout:g} s")
    if not found:
        raise StreamUnreachable(f"{host}: no such host")
    return list(dict.fromkeys(found))
