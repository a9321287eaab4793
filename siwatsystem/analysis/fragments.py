"""Repairs a fragmented mp4 whose end could not be written (ISO/IEC 14496-12: boxes of size and type)."""

from pathlib import Path

_HEADER = 8


def cut_to_whole(path: Path) -> bool:
    """Cut the file behind its last whole fragment (`moof` and its `mdat`), so that every player takes it.

    Whether there is one. Raises OSError.
    """
    size = path.stat().st_size
    whole = position = 0
    found = False
    with path.open("r+b") as file:
        while position + _HEADER <= size:
            file.seek(position)
            head = file.read(_HEADER + 8)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < _HEADER or position + length > size:
                break
            position += length
            if kind != b"moof":
                whole = position
            found |= kind == b"mdat"
        file.truncate(whole)
    return found
