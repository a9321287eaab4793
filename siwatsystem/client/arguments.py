"""What a client is given, looked at before anything is sent. Tokens and passwords are never shown."""

from urllib.parse import urlsplit

from siwatsystem import urls


def address(url: object) -> str:
    """The address of a worker as it was given. Raises ValueError where nothing can be reached under it."""
    try:
        if isinstance(url, str):
            parts = urlsplit(url)
            if parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0:
                return url
    except ValueError:
        pass
    raise ValueError(f"{shown(url)}: not an address of the form ws://host:port/ with a port below 65536")


def shown(url: object) -> str:
    """An address for logs and errors: without a password that it holds."""
    return urls.bare(url) if isinstance(url, str) else str(url)


def secret(token: str | None) -> str | None:
    """The token as it was given. Raises ValueError where no header can hold it."""
    if token is not None and any(ord(character) < 32 or ord(character) == 127 for character in token):
        raise ValueError("the token holds a line break or another control character")
    return token
