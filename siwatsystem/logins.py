"""Browsers that have logged in: a random name in a cookie stands for a role, for a while. Pure."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

LoginRole = Literal["view", "control"]

MOST = 1000
"""Logins at a time; beyond it the one that was used longest ago ends."""


@dataclass(slots=True)
class _Login:
    role: LoginRole
    used_at: float


class Logins:
    """Every login of this process. Names are told to nobody but their browser, and end with the process."""

    def __init__(self, keep_sec: float) -> None:
        """A login ends after `keep_sec` seconds without a request."""
        self._keep_sec = keep_sec
        self._found: OrderedDict[str, _Login] = OrderedDict()

    def begin(self, role: LoginRole, now: float) -> str:
        """A new login; the name for its cookie (256 random bits)."""
        name = secrets.token_urlsafe(32)
        self._found[name] = _Login(role, now)
        if len(self._found) > MOST:
            self._found.popitem(last=False)
        return name

    def role(self, name: str | None, now: float) -> LoginRole | None:
        """The role that the name stands for, if it is known and was used lately."""
        login = None if name is None else self._found.get(name)
        if name is None or login is None:
            return None
        if now - login.used_at > self._keep_sec:
            del self._found[name]
            return None
        login.used_at = now
        self._found.move_to_end(name)
        return login.role

    def end(self, name: str | None) -> None:
        """Forget a login; an unknown one changes nothing."""
        if name is not None:
            self._found.pop(name, None)
