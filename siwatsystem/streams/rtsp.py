"""RTSP cameras, read by FFmpeg."""

from siwatsystem.errors import StreamError, StreamRefused, StreamUnreachable
from siwatsystem.streams.address import Address
from siwatsystem.streams.decoder import Decoder, open_container
from siwatsystem.streams.reader import Opening
from siwatsystem.streams.redirects import one_connection, redirected
from siwatsystem.streams.resolve import resolve_all

_PROTOCOLS = "rtsp,rtsps,rtp,tcp,udp,tls,crypto"
_REDIRECTS = 3


def open_rtsp(opening: Opening) -> Decoder:
    """Open an `rtsp` or `rtsps` address. Raises StreamError."""
    address = opening.address
    for _ in range(_REDIRECTS + 1):
        ips = resolve_all(address.host, opening.settings, opening.cutoff)
        decoder = _open(address, ips, opening)
        if decoder is not None:
            return decoder
        address = redirected(address, ips[0], opening.settings, opening.cutoff)
    raise StreamUnreachable(f"the camera redirects more than {_REDIRECTS} times")


def _open(address: Address, ips: list[str], opening: Opening) -> Decoder | None:
    """The stream; None where the camera redirects. Raises StreamError."""
    settings = opening.settings
    # With TLS the name stays in the address: certificates and SNI go by it.
    url = address.url(host=ips[0] if address.scheme == "rtsp" else None)
    options = {
        "rtsp_transport": settings.rtsp_transport,
        "timeout": str(int(settings.read_timeout_sec * 1_000_000)),
        "protocol_whitelist": _PROTOCOLS,
        "allowed_media_types": "video",
    }
    with one_connection(ips, address.port, settings.connect_timeout_sec, opening.cutoff) as connection:
        try:
            decoder = open_container(url, opening, options, leaves=connection.leaves, format="rtsp")
        except StreamError:
            if connection.left:
                return None
            raise
        if connection.kept:
            return decoder
    decoder.close()
    raise StreamRefused("the camera's connection leads to another address than its name")
