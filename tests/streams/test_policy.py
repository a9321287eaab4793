"""Which packets are decoded, by value: packets in, steps out."""

import random
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise, repeat
from typing import NamedTuple

import pytest

from siwatsystem.schedule import Schedule
from siwatsystem.streams.policy import DecodePolicy, Mode, Step

RATE = 25


class Packet(NamedTuple):
    key: bool
    at: float
    media: float | None


def camera(*groups: int, begin: int = 0) -> Iterator[Packet]:
    """Packets 25 times a second; each group is a keyframe and what follows it, the last for ever."""
    number = begin
    for size in chain(groups, repeat(groups[-1])):
        for index in range(size):
            yield Packet(index == 0, number / RATE, number / RATE)
            number += 1


class Run:
    """A policy, what it decided, and the moments at which frames were decoded."""

    def __init__(self, interval: float, mode: Mode = "auto", whole: bool = True) -> None:
        self.policy = DecodePolicy(mode, interval)
        self.steps: list[Step] = []
        self.decoded: list[float] = []
        self._whole = whole

    def feed(self, packets: Iterable[Packet], until: float) -> "Run":
        """Up to the packet at `until` seconds (not counted)."""
        for packet in packets:
            if packet.at >= until:
                break
            step = self.policy.packet(packet.key, packet.at, packet.media)
            self.steps.append(step)
            if step is not Step.SKIP:
                self.decoded.append(packet.at)
            if packet.key and self._whole and step is not Step.SKIP:
                self.policy.whole_keyframe()
        return self

    def gap(self, since: float = 0.0) -> float:
        """The longest time without a decoded frame."""
        times = [time for time in self.decoded if time >= since]
        return max(b - a for a, b in pairwise(times))


def test_all_decodes_every_packet_and_still_measures() -> None:
    run = Run(0.5, "all").feed(camera(12), 10)
    assert set(run.steps) == {Step.FEED}
    assert run.policy.in_force == "all"
    assert run.policy.keyframe_sec == pytest.approx(0.48)


def test_keyframes_decodes_nothing_else_however_rare_they_are() -> None:
    run = Run(0.1, "keyframes").feed(camera(250), 40)
    assert run.decoded == [0, 10, 20, 30]
    assert set(run.steps) == {Step.ALONE, Step.SKIP}


def test_auto_decodes_keyframes_alone_once_they_came_soon_enough_several_times() -> None:
    run = Run(0.5).feed(camera(12), 20)
    first = run.steps.index(Step.ALONE)
    assert first == 3 * 12
    assert set(run.steps[:first]) == {Step.FEED}
    assert set(run.steps[first:]) == {Step.ALONE, Step.SKIP}
    assert run.policy.in_force == "keyframes"
    assert run.gap() == pytest.approx(0.48)


@pytest.mark.parametrize("group", [14, 25, 50, 250])
def test_auto_leaves_a_camera_alone_whose_keyframes_are_too_rare(group: int) -> None:
    run = Run(0.5).feed(camera(group), 60)
    assert set(run.steps) == {Step.FEED}


def test_a_keyframe_that_is_a_little_late_each_time_is_soon_enough() -> None:
    assert Run(0.5).feed(camera(13), 10).policy.in_force == "keyframes"


def test_what_is_called_a_keyframe_but_gives_no_picture_of_its_own_is_never_decoded_alone() -> None:
    run = Run(0.5, whole=False).feed(camera(12), 60)
    assert set(run.steps) == {Step.FEED}


def test_now_and_then_a_whole_picture_is_not_enough() -> None:
    """Intra refresh with a real keyframe every few seconds."""
    policy = DecodePolicy("auto", 0.5)
    for number, packet in enumerate(camera(12)):
        if packet.at > 120:
            break
        assert policy.packet(packet.key, packet.at, packet.media) is Step.FEED
        if number % 120 == 0:
            policy.whole_keyframe()


def test_when_keyframes_become_rare_nobody_waits_for_the_next() -> None:
    packets = camera(*[12] * 10, 250)
    run = Run(0.5).feed(packets, 4.8 + 9)
    assert run.policy.in_force == "all"
    late = run.steps.index(Step.CATCH_UP)
    # The tenth group's keyframe is at 4.8 s; the next was due by 0.525 s later.
    assert late == 120 + 14
    assert set(run.steps[late + 1 :]) == {Step.FEED}
    assert run.gap() <= 0.6


def test_a_keyframe_that_comes_late_is_where_all_is_decoded_from() -> None:
    """The packets between were lost: none says that the keyframe is overdue."""
    packets = [packet for packet in camera_for(12, 20) if not 10.0 < packet.at < 11.0]
    run = Run(0.5).feed(packets, 11.1)
    assert run.steps[-1] is Step.FEED
    assert run.steps.count(Step.CATCH_UP) == 1
    assert run.policy.in_force == "all"


def camera_for(group: int, seconds: float) -> list[Packet]:
    return [packet for packet, _ in zip(camera(group), range(round(seconds * RATE)), strict=False)]


def test_after_a_wrong_guess_it_takes_longer() -> None:
    smart = [12, 12, 12, 12, 12, 100]
    run = Run(0.5).feed(camera(*smart * 20, 100), 100)
    assert run.steps.count(Step.CATCH_UP) == 1
    assert run.gap() <= 0.6


def test_it_goes_back_to_keyframes_when_they_are_frequent_again() -> None:
    run = Run(0.5).feed(camera(*[12] * 10, 250, 12), 40)
    assert run.policy.in_force == "keyframes"
    assert run.steps.count(Step.CATCH_UP) == 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("with_media", [True, False])
def test_jitter_of_the_network_changes_nothing(seed: int, with_media: bool) -> None:
    chance = random.Random(seed)
    now = 0.0
    packets: list[Packet] = []
    for packet in camera_for(12, 60):
        now = max(now, packet.at + chance.uniform(0, 0.1))
        packets.append(Packet(packet.key, now, packet.media if with_media else None))
    run = Run(0.5).feed(packets, 100)
    assert run.steps.count(Step.CATCH_UP) == 0
    assert run.policy.in_force == "keyframes"


def test_a_stall_of_the_network_is_no_rare_keyframe() -> None:
    """For half a second nothing arrives, then all at once."""
    packets = [
        Packet(one.key, max(one.at, 30.5) if 30 <= one.at < 30.6 else one.at, one.media)
        for one in camera_for(12, 60)
    ]
    run = Run(0.5).feed(packets, 100)
    assert run.steps.count(Step.CATCH_UP) == 0


@pytest.mark.parametrize("speed", [0.0, 0.1, 0.5])
def test_a_camera_whose_clock_is_too_slow_is_not_believed(speed: float) -> None:
    packets = [Packet(one.key, one.at, one.media and one.media * speed) for one in camera_for(50, 120)]
    run = Run(0.5).feed(packets, 200)
    assert run.policy.in_force == "all"
    assert run.gap() <= 0.6


def test_time_stamps_that_jump_cost_no_frame() -> None:
    packets = [
        Packet(one.key, one.at, (one.media or 0.0) + (0 if one.at < 20 else -15 if one.at < 40 else 1000))
        for one in camera_for(12, 60)
    ]
    run = Run(0.5).feed(packets, 100)
    assert run.policy.in_force == "keyframes"
    assert run.gap() <= 0.6


def test_of_pictures_that_are_all_keyframes_only_those_that_are_due_are_decoded() -> None:
    run = Run(0.5).feed(camera(1), 60)
    later = [time for time in run.decoded if 10 <= time < 50]
    assert len(later) == 80
    assert run.gap(since=1.0) == pytest.approx(0.5, abs=0.05)


def test_the_rate_is_kept_where_keyframes_come_a_little_more_often_than_needed() -> None:
    # 0.4 s apart where 0.5 s would do: leaving one out would halve the rate.
    run = Run(0.5).feed(camera(10), 60)
    assert len([time for time in run.decoded if 10 <= time < 50]) == 100


def test_the_rate_is_kept_where_every_second_keyframe_is_needed() -> None:
    run = Run(1.0).feed(camera(12), 100)
    taken = [time for time in run.decoded if 10 <= time < 90]
    assert len(taken) == pytest.approx(80, abs=1)


@pytest.mark.parametrize("interval", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_as_many_are_analysed_as_are_wanted_however_far_apart_keyframes_are(
    interval: float, jitter: float
) -> None:
    """The loops' slots lie on grids of their own. `jitter`: in intervals."""
    for part in range(10, 101):
        rates = [analysed(interval * part / 100, interval, interval * jitter, loop) for loop in range(1, 8)]
        assert min(rates) >= 0.98, part
        assert max(rates) <= 1.02, part


def analysed(apart: float, interval: float, jitter: float, loops: int) -> float:
    """Frames that the last of so many loops is given, of a camera whose pictures are keyframes `apart`
    seconds from each other, as a part of those it wants."""
    chance = random.Random(loops)
    policy, schedule = DecodePolicy("auto", interval), Schedule(1)
    for _ in range(loops):
        turn = schedule.join("pipeline", lambda: None, interval)
    given, now = 0, 0.0
    count = round(160 * interval / apart)
    for number in range(count):
        media = number * apart
        now = max(now, media + chance.uniform(0, jitter))
        step = policy.packet(True, now, media)
        policy.whole_keyframe()
        asks = step is not Step.SKIP and turn.frame(now) and schedule.ask(turn, now)
        if asks or schedule.ask_overdue(turn, now):
            assert schedule.take(now) is turn
            schedule.rest(turn)
            schedule.left(turn)
            given += media >= 40 * interval
    return given * interval / (count * apart - 40 * interval)


def test_when_keyframes_become_more_frequent_nobody_waits() -> None:
    """All are taken for a while, then some of them."""
    run = Run(0.5).feed(camera(*[10] * 100, 3), 60)
    assert run.policy.in_force == "keyframes"
    assert run.gap() < 0.65


def test_a_keyframe_that_cannot_be_decoded_alone_ends_it() -> None:
    run = Run(0.5).feed(camera(12), 10)
    run.policy.broken_keyframe()
    assert run.policy.in_force == "all"
    assert run.policy.packet(False, 10.0, 10.0) is Step.FEED


def test_keyframes_alone_stays_where_it_was_asked_for() -> None:
    policy = DecodePolicy("keyframes", 0.5)
    policy.broken_keyframe()
    assert policy.in_force == "keyframes"


@pytest.mark.parametrize("apart", [0.1, 0.25, 0.4, 0.475, 0.5, 0.525, 0.55, 1.0, 3.0])
@pytest.mark.parametrize("jitter", [0.0, 0.2])
def test_single_pictures_are_under_one_policy_for_good(apart: float, jitter: float) -> None:
    chance = random.Random(1)
    policy = DecodePolicy("auto", 0.5, singles=True)
    taken: list[float] = []
    now = 0.0
    for number in range(400):
        now = max(now, (number + chance.uniform(0, jitter)) * apart)
        if policy.packet(True, now, None) is not Step.SKIP:
            taken.append(now)
            policy.whole_keyframe()
        assert policy.in_force == "keyframes"
    rate = len(taken) / now
    assert rate >= 0.95 * min(2.0, 1 / apart)
    # Those that come not much more often than needed are all taken.
    assert apart > 0.2 or rate < 2.1


def test_single_pictures_go_on_after_a_pause() -> None:
    policy = DecodePolicy("auto", 0.5, singles=True)
    steps = [policy.packet(True, at, None) for at in (0.0, 0.1, 0.2, 0.3, 60.0)]
    assert steps[0] is steps[-1] is Step.ALONE


def test_single_pictures_are_all_decoded_where_that_is_asked_for() -> None:
    policy = DecodePolicy("all", 0.5, singles=True)
    assert [policy.packet(True, n / 10, None) for n in range(20)] == [Step.FEED] * 20
    assert policy.in_force == "all"
