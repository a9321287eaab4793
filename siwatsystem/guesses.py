"""How often somebody may try tokens that are wrong. Pure."""

import hashlib
import ipaddress
import math
import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass, field

BURST = 20
"""Different wrong tokens that an address may try at once."""
PER_SEC = 1.0
"""… and for long."""
REMEMBERED = 8
"""Wrong tokens of an address that cost it nothing when they come again: a program whose token was changed
sends the same one for ever, and must not shut out the others behind its address."""
MOST = 4096
"""Addresses that are remembered; beyond it the one that guessed longest ago starts anew."""


TOLD_SEC = 60.0
"""What an address guesses is told once in this time."""


@dataclass(slots=True)
class _Guesser:
    left: float
    at: float
    told: float = -math.inf
    untold: int = 0
    tried: deque[bytes] = field(default_factory=lambda: deque(maxlen=REMEMBERED))


class Guesses:
    """The addresses from which wrong tokens came lately.

    Each has its own measure, so nobody shuts out an operator elsewhere; who shares an address with a guesser
    waits a second at most once the guessing stops. What is open already (logins, WebSockets) is not asked.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._found: OrderedDict[str, _Guesser] = OrderedDict()

    def may(self, address: str, token: str, now: float) -> bool:
        """Whether `token` may be compared; an answer without comparing tells a guesser nothing."""
        guesser = self._found.get(_network(address))
        if guesser is None or self._mark(token) in guesser.tried:
            return True
        return _left(guesser, now) >= 1

    def wrong(self, address: str, token: str, now: float) -> None:
        """Note a token that was compared and opens nothing."""
        name, mark = _network(address), self._mark(token)
        guesser = self._found.setdefault(name, _Guesser(BURST, now))
        self._found.move_to_end(name)
        if mark not in guesser.tried:
            guesser.left, guesser.at = max(0.0, _left(guesser, now) - 1), now
            guesser.tried.append(mark)
        if len(self._found) > MOST:
            self._found.popitem(last=False)

    def refused(self, address: str, now: float) -> int:
        """Count a token that `address` was refused; how many are to be told now, 0 if it was told lately."""
        guesser = self._found.get(_network(address))
        if guesser is None:
            return 1
        guesser.untold += 1
        if now - guesser.told < TOLD_SEC:
            return 0
        count, guesser.untold, guesser.told = guesser.untold, 0, now
        return count

    def _mark(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode(errors="surrogatepass"), key=self._key, digest_size=16).digest()


def _left(guesser: _Guesser, now: float) -> float:
    return min(BURST, guesser.left + max(0.0, now - guesser.at) * PER_SEC)


def _network(address: str) -> str:
    """Whom an address stands for: of IPv6 everybody has a whole /64."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.version == 4:
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
