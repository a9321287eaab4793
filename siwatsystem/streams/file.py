"""A video file as a camera: at its own pace, and from its beginning again when it ends."""

import time

from siwatsystem.errors import StreamLost, StreamUnreachable
from siwatsystem.streams.containers import FILE_OPTIONS
from siwatsystem.streams.conversion import Decoded
from siwatsystem.streams.decoder import Decoder, open_container
from siwatsystem.streams.reader import Opening, Picture


class FileReader:
    """Plays a file for ever."""

    def __init__(self, decoder: Decoder, opening: Opening) -> None:
        self.decoder = decoder
        decoder.shows_end = True
        self._cutoff = opening.cutoff
        self._begun: tuple[float, float] | None = None

    def read(self) -> Picture | None:
        """The next picture, when its time has come."""
        try:
            found = self.decoder.read_frame()
        except StreamLost:
            if self._begun is None:
                raise StreamUnreachable("the file holds no picture that can be decoded") from None
            self._begun = None
            self.decoder.rewind()
            return None
        if found is None:
            if self.decoder.skipped_to is not None:
                self._wait_for(self.decoder.skipped_to)
            return None
        frame = found[0]
        self._wait_for(self.decoder.seconds(frame.pts) or 0.0)
        return Picture(Decoded(frame), time.time(), time.monotonic())

    def close(self) -> None:
        self.decoder.close()

    def _wait_for(self, position: float) -> None:
        now = time.monotonic()
        if self._begun is None:
            self._begun = (now, position)
        started, first = self._begun
        self._cutoff.wait(started + position - first - now)


def open_file(opening: Opening) -> FileReader:
    """Open a `file` address. Raises StreamError."""
    return FileReader(open_container(opening.address.target, opening, FILE_OPTIONS), opening)
