"""RTSP cameras, read by FFmpeg."""

from siwatsystem.streams.decoder import Decoder, open_container
from siwatsystem.streams.reader import Opening
from siwatsystem.streams.resolve import resolve

_PROTOCOLS = "rtsp,rtsps,rtp,tcp,udp,tls,crypto"


def open_rtsp(opening: Opening) -> Decoder:
    """Open an `rtsp` or `rtsps` address. Raises StreamError."""
    address, settings = opening.address, opening.settings
    ip = resolve(address.host, settings, opening.cutoff)
    # With TLS the name stays in the address: certificates and SNI go by it.
    url = address.url(host=ip if address.scheme == "rtsp" else None)
    options = {
        "rtsp_transport": settings.rtsp_transport,
        "timeout": str(int(settings.read_timeout_sec * 1_000_000)),
        "protocol_whitelist": _PROTOCOLS,
        "allowed_media_types": "video",
    }
    return open_container(url, opening, options, format="rtsp")
