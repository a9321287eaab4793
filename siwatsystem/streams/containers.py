"""What FFmpeg may open of files, and how it is to take what they say of themselves."""

FILE_OPTIONS = {
    "protocol_whitelist": "file",
    # No playlists: they name further files, anywhere.
    "format_whitelist": "mov,mp4,matroska,webm,avi,mpegts,mpeg,h264,hevc,m4v,flv,asf,ogg,mjpeg,ivf,mxf",
}

METADATA_ERRORS = "replace"
"""Titles are in whatever encoding somebody had; nobody here reads them."""
