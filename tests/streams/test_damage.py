"""That nothing is shown which was predicted from what is damaged or lost, live and from a file."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame

from siwatsystem.config import StreamSettings
from siwatsystem.errors import StreamLost
from siwatsystem.streams.address import Address
from siwatsystem.streams.cutoff import Cutoff
from siwatsystem.streams.damage import Damage
from siwatsystem.streams.decoder import Decoder
from siwatsystem.streams.reader import Opening
from siwatsystem.streams.spec import SourceSpec
from tests.streams.test_decoding import film

RATE = 10
WIDTH, HEIGHT = 160, 128
TS_PACKET = 188

Pictures = dict[int, np.ndarray[Any, Any]]
"""By time stamp."""


def moving(kind: str, frames: int, keys: int, **options: str) -> bytes:
    """A film of a speckled patch that moves to the right, with a keyframe every `keys` pictures."""
    patch = np.random.default_rng(0).integers(0, 255, (60, 40, 3), np.uint8)
    target = io.BytesIO()
    with av.open(target, "w", format=kind) as container:
        given = {"b-adapt": "0", "sc_threshold": "0", "crf": "20", "x264-params": "sliced-threads=0"}
        stream = container.add_stream("libx264", rate=RATE, options={**given, "g": str(keys), **options})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
            place = number * 2 % (WIDTH - 40)
            image[30:90, place : place + 40] = patch
            container.mux(stream.encode(VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return target.getvalue()


def packets(data: bytes) -> list[Packet]:
    with av.open(io.BytesIO(data)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def rubbish(packet: Packet) -> Packet:
    """The same packet with its contents overwritten."""
    given = bytearray(bytes(packet))
    given[6:] = bytes(np.random.default_rng(3).integers(0, 255, len(given) - 6, np.uint8))
    spoilt = Packet(bytes(given))
    spoilt.pts, spoilt.dts, spoilt.time_base = packet.pts, packet.dts, packet.time_base
    spoilt.is_keyframe = packet.is_keyframe
    return spoilt


class Live:
    """What a camera that sends `data` shows; `spoilt`: numbers of packets that arrive as rubbish."""

    def __init__(self, data: bytes, spoilt: Iterable[int] = (), decode: Any = "all") -> None:
        opening = Opening(
            SourceSpec("file:film"),
            Address("file", target="film"),
            StreamSettings(decode=decode, decode_device="cpu"),
            Cutoff(),
            0.5,
        )
        self.marked = 0
        """Packets that FFmpeg has marked as damaged."""
        self.decoding = opening.decoding
        self._spoilt = frozenset(spoilt)
        self._decoder = Decoder(av.open(io.BytesIO(data)), opening)
        self._decoder.shows_end = True
        self._decoder._packets = self._tapped(self._decoder._packets)  # pyright: ignore[reportPrivateUsage]
        self.pictures: Pictures = {}
        self.policies: dict[int, str] = {}
        """What was in force after the packet with that number."""
        self._number = 0
        self._read()

    def _tapped(self, arriving: Iterator[Packet]) -> Iterator[Packet]:
        for self._number, packet in enumerate(arriving):
            self.marked += packet.is_corrupt
            yield rubbish(packet) if self._number in self._spoilt else packet

    def _read(self) -> None:
        while True:
            try:
                found = self._decoder.read_frame()
            except StreamLost:
                break
            self.policies[self._number] = self.decoding.policy
            if found is not None:
                assert found[0].pts is not None
                self.pictures[found[0].pts] = found[0].to_ndarray(format="gray")
        self._decoder.close()


def wrong(shown: Pictures, whole: Pictures) -> list[int]:
    return [pts for pts, picture in shown.items() if not np.array_equal(picture, whole[pts])]


def test_a_packet_that_is_marked_as_cut_is_damage() -> None:
    data = moving("mpegts", 60, 20, bf="0")
    whole = Live(data).pictures
    assert len(whole) == 60
    count, marked = len(data) // TS_PACKET, 0
    for begin in range(count // 4, count // 2, 5):
        cut = Live(data[: begin * TS_PACKET] + data[(begin + 4) * TS_PACKET :])
        marked += cut.marked > 0
        if cut.marked:
            assert wrong(cut.pictures, whole) == []
            assert len(cut.pictures) < 60
        # The last group is whole.
        assert list(cut.pictures)[-15:] == list(whole)[-15:]
    assert marked >= 3


@pytest.mark.parametrize("decode", ["all", "keyframes"])
def test_a_damaged_keyframe_is_not_shown(decode: str) -> None:
    data = moving("mpegts", 60, 20, bf="0", crf="5")
    whole = Live(data, decode=decode).pictures
    keys = [packet.pts for packet in packets(data) if packet.is_keyframe]
    shown = Live(data, [20], decode).pictures
    assert wrong(shown, whole) == []
    assert [pts for pts in keys if pts in shown] == [keys[0], keys[2]]


def test_a_keyframe_that_is_marked_as_cut_is_not_shown_where_keyframes_alone_are_decoded() -> None:
    data = moving("mpegts", 60, 20, bf="0", crf="5")
    whole = Live(data, decode="keyframes").pictures
    assert len(whole) == 3
    begin, end = (packet.pos // TS_PACKET for packet in packets(data)[20:22])
    for place in range(begin + 1, end):
        cut = Live(data[: place * TS_PACKET] + data[(place + 1) * TS_PACKET :], decode="keyframes")
        if cut.marked:
            assert wrong(cut.pictures, whole) == []
        assert list(cut.pictures)[-1] == list(whole)[-1]


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_keyframe_that_comes_out_late_does_not_heal_what_was_lost_after_it(after: int) -> None:
    data = moving("matroska", 60, 20, bf="3")
    whole = Live(data).pictures
    keys = [number for number, packet in enumerate(packets(data)) if packet.is_keyframe]
    assert len(keys) == 3
    shown = Live(data, [keys[1] + after]).pictures
    assert wrong(shown, whole) == []
    last = packets(data)[keys[2]].pts
    assert last is not None
    assert [pts for pts in shown if pts >= last] == [pts for pts in whole if pts >= last]


def test_what_the_decoder_held_back_at_the_end_is_shown() -> None:
    data = moving("matroska", 30, 10, bf="3")
    assert len(Live(data).pictures) == 30


def test_catching_up_over_damage_gives_no_picture(tmp_path: Path) -> None:
    """Keyframes every half second, decoded alone; then a group of 2.5 s, and of half a second again."""
    keys = [*range(0, 51, 10), 100]
    data = film(tmp_path / "film.mkv", 110, keys, bf="0").read_bytes()
    whole = Live(data, decode="auto")
    late = max(number for number, policy in whole.policies.items() if policy == "keyframes") + 1
    assert 60 < late < 70
    stamps = [packet.pts for packet in packets(data)]
    assert stamps[late] in whole.pictures
    shown = Live(data, [55], decode="auto")
    assert [stamps.index(pts) for pts in shown.pictures if pts > stamps[50]] == list(range(100, 110))
    assert wrong(shown.pictures, whole.pictures) == []


class TestRule:
    """By value: packets and pictures of one real group, under time stamps that are given."""

    @pytest.fixture
    @staticmethod
    def group() -> tuple[Packet, Packet, VideoFrame]:
        with av.open(io.BytesIO(moving("matroska", 4, 10, bf="0"))) as container:
            found = [packet for packet in container.demux(video=0) if packet.size]
        with av.open(io.BytesIO(moving("matroska", 4, 10, bf="0"))) as container:
            return found[0], found[1], next(container.decode(video=0))

    def test_a_clock_that_was_set_back_does_not_keep_it_from_healing(
        self, group: tuple[Packet, Packet, VideoFrame]
    ) -> None:
        key, other, picture = group
        damage = Damage()
        other.pts = 9000
        damage.fed(other)
        damage.lose()
        key.pts = picture.pts = 40
        assert not damage.shows(picture)
        damage.fed(key)
        assert damage.shows(picture)
        assert not damage.stands

    def test_without_time_stamps_the_next_keyframe_that_is_fed_heals(
        self, group: tuple[Packet, Packet, VideoFrame]
    ) -> None:
        key, other, picture = group
        key.pts = other.pts = picture.pts = None
        damage = Damage()
        damage.fed(key)
        damage.fed(other)
        damage.lose()
        assert not damage.shows(picture)
        damage.fed(key)
        assert damage.shows(picture)

    def test_what_is_only_called_a_keyframe_heals_nothing(
        self, group: tuple[Packet, Packet, VideoFrame]
    ) -> None:
        key, _, picture = group
        damage = Damage()
        damage.lose()
        damage.fed(key)
        picture.pict_type = PictureType.P
        assert picture.key_frame
        assert not damage.shows(picture)
        picture.pict_type = PictureType.I
        assert damage.shows(picture)
