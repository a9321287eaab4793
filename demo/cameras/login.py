"""What an HTTP camera asks of who wants its pictures: nothing, basic or digest authentication."""

import base64
import hashlib
import hmac
import re
import secrets

REALM = "camera"


class Login:
    """Checks `Authorization` headers (RFC 7617; RFC 7616 with MD5, as cameras speak it)."""

    def __init__(self, user: str, password: str, *, digest: bool) -> None:
        self._user, self._password, self._digest = user, password, digest
        self._nonce = secrets.token_hex(16)

    @property
    def challenge(self) -> str:
        """The `WWW-Authenticate` header of a refusal."""
        if self._digest:
            return f'Digest realm="{REALM}", nonce="{self._nonce}", qop="auth", algorithm=MD5'
        return f'Basic realm="{REALM}"'

    def allows(self, method: str, header: str | None) -> bool:
        if not self._user:
            return True
        kind, _, rest = (header or "").partition(" ")
        if self._digest:
            return kind == "Digest" and self._digest_holds(method, rest)
        expected = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        return kind == "Basic" and hmac.compare_digest(rest, expected)

    def _digest_holds(self, method: str, rest: str) -> bool:
        given = {name: quoted or plain for name, quoted, plain in _FIELD.findall(rest)}
        if given.get("username") != self._user or given.get("nonce") != self._nonce:
            return False
        secret = _md5(f"{self._user}:{REALM}:{self._password}")
        asked = _md5(f"{method}:{given.get('uri', '')}")
        proof = ":".join([secret, self._nonce, given.get("nc", ""), given.get("cnonce", ""), "auth", asked])
        return hmac.compare_digest(given.get("response", ""), _md5(proof))


_FIELD = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
