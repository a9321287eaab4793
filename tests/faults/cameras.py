"""Cameras that die, hang, send damage, trickle, or show the same picture for ever."""

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from socket import socket

import cv2
import numpy as np

from tests.cameras import misbehaving, rtsp
from tests.faults.promise import Figure, Length, Promise
from tests.faults.proxy import FaultProxy
from tests.faults.site import site


def killed(folder: Path, length: Length) -> Sequence[Figure]:
    """RTSP servers are killed and started again some seconds later, again and again."""
    rounds, away, count = length.times(2, 5), length.of(2, 20), length.times(1, 4)
    told: list[float] = []
    back: list[float] = []
    with ExitStack() as stack:
        places = [folder / str(number) for number in range(count)]
        cameras = [stack.enter_context(rtsp(place)) for place in places]
        here = stack.enter_context(site(folder))
        names = [here.subscribe(f"killed-{n}", camera.url()) for n, camera in enumerate(cameras)]
        here.all_told(names, True)
        for _ in range(rounds):
            for camera in cameras:
                camera.kill()
            told += here.all_told(names, False)
            here.client.collect(away)
            before, started = {name: here.analysed(name) for name in names}, list[float]()
            for camera in cameras:
                camera.start()
                started.append(time.monotonic())
            seen = here.moments_of_more(before)
            back += [seen[name] - began for name, began in zip(names, started, strict=True)]
    in_time = sum(gone <= 10 and again <= 10 for gone, again in zip(told, back, strict=True))
    return [
        Figure("told after", max(told), 10, "s", timed=True),
        Figure("frames again after", max(back), 10, "s", timed=True),
        Figure(f"of {rounds * count} times in time", in_time, rounds * count, least=True, timed=True),
    ]


def half_open(folder: Path, length: Length) -> Sequence[Figure]:
    """The RTSP server is stopped (SIGSTOP): its connections stay open, nothing comes."""
    with rtsp(folder) as camera, site(folder) as here:
        name = here.subscribe("stopped", camera.url())
        here.told(name, True)
        camera.pause()
        told = here.told(name, False)
        here.client.collect(length.of(1, 30))
        camera.resume()
        back = here.told(name, True)
    return [
        Figure("told after", told, 10, "s", timed=True),
        Figure("frames again after", back, 10, "s", timed=True),
    ]


def corrupt(folder: Path, length: Length) -> Sequence[Figure]:
    """One bit of some thousands is flipped on the way; then none any more."""
    with rtsp(folder) as camera, FaultProxy(camera.port) as proxy, site(folder) as here:
        name = here.subscribe("damaged", camera.url().replace(str(camera.port), str(proxy.port)))
        here.told(name, True)
        proxy.faults.flip_one_of = 4000
        here.until(lambda: here.metric("siwat_source_decode_errors_total") > 0, "a decode error")
        here.client.collect(length.of(4, 60))
        errors = here.metric("siwat_source_decode_errors_total")
        proxy.none()
        before, began = here.analysed(name), time.monotonic()
        here.until(lambda: here.analysed(name) > before + 4, "frames")
        back = time.monotonic() - began
        alive = here.alive
    return [
        Figure("decode errors counted", errors, 1, least=True),
        Figure("frames again after", back, 15, "s", timed=True),
        Figure("worker alive", alive, 1, least=True),
    ]


def trickling(folder: Path, length: Length) -> Sequence[Figure]:
    """A snapshot server that sends a byte a second, beside a camera that is well."""
    held: list[float] = []

    def trickle(connection: socket) -> None:
        began = time.monotonic()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n")
        connection.settimeout(1.0)
        with suppress(OSError):
            while True:
                connection.sendall(b"\xff")
                with suppress(TimeoutError):
                    if not connection.recv(1):
                        break
        held.append(time.monotonic() - began)

    seconds = length.of(5, 30)
    with rtsp(folder) as camera, misbehaving(trickle) as port, site(folder, SIWAT_TARGET_FPS="5") as here:
        name = here.subscribe("well", camera.url())
        here.told(name, True)
        here.client.collect(4)
        alone = here.rate(name, seconds)
        here.subscribe("slow", f"http://127.0.0.1:{port}/snapshot", snapshotInterval=1000)
        here.client.collect(1)
        beside = here.rate(name, seconds)
        here.until(lambda: held, "the fetch to be given up")
    return [
        Figure("fetch given up after", held[0], 5.5, "s", timed=True),
        Figure("of its rate the other camera keeps", 100 * beside / alone, 95, "%", least=True, timed=True),
    ]


def frozen(folder: Path, length: Length) -> Sequence[Figure]:
    """The same picture again and again; then none at all."""
    picture = cv2.imencode(".jpg", np.full((180, 320, 3), 120, np.uint8))[1].tobytes()
    answered: list[float] = []
    hangs: list[bool] = []

    def answer(connection: socket) -> None:
        while connection.recv(65536):
            while hangs:
                time.sleep(0.1)
                if len(hangs) > 1:
                    return
            head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            connection.sendall(head.encode() + picture)
            answered.append(time.monotonic())

    with misbehaving(answer) as port, site(folder, SIWAT_STALE_AFTER_SEC="3", SIWAT_TARGET_FPS="10") as here:
        name = here.subscribe("frozen", f"http://127.0.0.1:{port}/snapshot", snapshotInterval=250)
        here.told(name, True)
        since = len(here.client.received)
        here.client.collect(length.of(6, 60))
        reports = [one for one in here.client.received[since:] if one["type"] == "stateReport"]
        offline = sum(not camera["online"] for one in reports for camera in one["cameraConnections"])
        reconnects = here.metric("siwat_source_reconnects_total")
        hangs.append(True)
        told = here.told(name, False)
        analysed = here.analysed(name)
        here.client.collect(2)
        made_up = here.analysed(name) - analysed + max(0.0, analysed - len(answered))
        hangs.append(True)
    return [
        Figure("reopened", reconnects, 0),
        Figure("called offline while frames came", offline, 0),
        Figure("told after the last frame", told, 10, "s", timed=True),
        Figure("inferences without a frame of their own", made_up, 0),
    ]


PROMISES = (
    Promise(
        "rtsp-killed",
        "RTSP server killed",
        "`kill -9`, started again after 20 s; four servers, five times",
        "told ≤ 10 s after the last frame, frames again ≤ 10 s after the server is back, 20 times of 20",
        killed,
    ),
    Promise(
        "rtsp-half-open",
        "half-open connection",
        "`SIGSTOP` the server",
        "stalled ≤ 10 s, reopened when it lives again",
        half_open,
    ),
    Promise(
        "h264-corrupt",
        "corrupt H.264",
        "bit flips in the stream",
        "no crash, decode errors counted, reopened",
        corrupt,
    ),
    Promise(
        "snapshot-slow",
        "slow snapshot server",
        "1 byte a second",
        "5 s deadline for the whole fetch; the other cameras lose ≤ 5 % of their rate",
        trickling,
    ),
    Promise(
        "picture-frozen",
        "frozen picture source",
        "same image again and again",
        "judged by delivery of frames, not by pixels; no restart loop; never an inference on a made-up frame",
        frozen,
    ),
)
