"""The decoding part of `bench.gpu`: many 1080p25 H.264 streams, every fifth frame analysed.

Streams are played as fast as they can be decoded and analysed, so that the limit shows; a stream
waits for the analysis of its own frame before last, so decoded and analysed frames keep their
proportion of five to one.
"""

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FPS = 25
ANALYSED_FPS = 5
_STEP = FPS // ANALYSED_FPS
_IN_SOFTWARE = re.compile("(?i)failed setup for format cuda|device creation failed|no device available")
"""What ffmpeg says when it goes on without the GPU."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Frames/s of all streams together, and what decoded them."""

    decoded: float
    analysed: float
    device: str


def streams_of(path: Path, streams: int, seconds: float, analyse: Callable[[Any], Any] | None) -> Decoded:
    """So many streams of `path` through the product's decoder; every fifth frame into `analyse`.

    Without `analyse` they are decoded alone. Raises StreamError.
    """
    counts = [0, 0]
    devices: set[str] = set()
    errors: list[BaseException] = []
    lock = threading.Lock()
    barrier = threading.Barrier(streams + 1)
    end = [float("inf")]
    pool = ThreadPoolExecutor(max(1, streams), thread_name_prefix="analyse")

    def work() -> None:
        decoded = analysed = 0
        try:
            reader, opening = _opened(path)
            try:
                frame = _next(reader)
                devices.add(opening.decoding.device)
                barrier.wait(120)
                before: Future[Any] | None = None
                while time.perf_counter() < end[0]:
                    if analyse is not None and decoded % _STEP == 0:
                        if before is not None:
                            before.result()
                            analysed += 1
                        before = pool.submit(analyse, frame)
                    frame = _next(reader)
                    decoded += 1
                if before is not None:
                    before.result()
                    analysed += 1
            finally:
                reader.close()
        except BaseException as error:  # told by whoever waits for this thread
            errors.append(error)
            barrier.abort()
        with lock:
            counts[0] += decoded
            counts[1] += analysed

    threads = [threading.Thread(target=work, daemon=True) for _ in range(streams)]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    try:
        barrier.wait(120)
        began = time.perf_counter()
        end[0] = began + seconds
    except threading.BrokenBarrierError:
        end[0] = 0.0
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    pool.shutdown()
    if errors:
        raise next((one for one in errors if not isinstance(one, threading.BrokenBarrierError)), errors[0])
    return Decoded(counts[0] / took, counts[1] / took, ", ".join(sorted(devices)))


def _opened(path: Path) -> tuple[Any, Any]:
    """The product's decoder on a file, which it does not pace, and what tells how it decodes."""
    from siwatsystem.config import StreamSettings
    from siwatsystem.streams.address import Address
    from siwatsystem.streams.containers import FILE_OPTIONS
    from siwatsystem.streams.cutoff import Cutoff
    from siwatsystem.streams.decoder import open_container
    from siwatsystem.streams.reader import Opening
    from siwatsystem.streams.spec import SourceSpec

    opening = Opening(
        SourceSpec(f"file://{path}"),
        Address("file", target=str(path)),
        StreamSettings(decode="all"),
        Cutoff(),
        interval_sec=1 / ANALYSED_FPS,
    )
    return open_container(str(path), opening, FILE_OPTIONS), opening


def _next(reader: Any) -> Any:
    """The next picture, from the beginning again at the end."""
    from siwatsystem.errors import StreamLost

    while True:
        try:
            found = reader.read()
        except StreamLost:
            reader.rewind()
            continue
        if found is not None:
            return found.image


def ffmpeg_rate(path: Path, frames: int, streams: int, loops: int, cuda: bool) -> tuple[float, str] | None:
    """Frames/s of so many `ffmpeg -f null` at a time, and what they were; None without a working one.

    What it takes to start (CUDA's context, above all) is measured with one frame each and taken off.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        return None
    hardware = ["-hwaccel", "cuda"] if cuda else []

    def command(*more: str) -> list[str]:
        loop = ["-stream_loop", str(loops - 1)]
        return [
            program,
            "-hide_banner",
            "-nostdin",
            *hardware,
            *loop,
            "-i",
            str(path),
            *more,
            "-f",
            "null",
            "-",
        ]

    start = _together(command("-frames:v", "1"), streams)
    whole = _together(command("-an"), streams)
    if start is None or whole is None or whole[0] <= start[0]:
        return None
    fell_back = cuda and re.search(
        r"(?i)failed setup for format cuda|device creation failed|no device available", whole[1]
    )
    if fell_back:
        return None
    return streams * loops * frames / (whole[0] - start[0]), "ffmpeg -hwaccel cuda" if cuda else "ffmpeg"


def _together(command: list[str], count: int) -> tuple[float, str] | None:
    """Seconds until all of `count` have ended, and what the first said; None where one failed."""
    began = time.perf_counter()
    running = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    said: list[str] = [""] * count

    def listen(index: int) -> None:
        said[index] = running[index].communicate()[1]

    readers = [threading.Thread(target=listen, args=(index,)) for index in range(count)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(300)
    took = time.perf_counter() - began
    for one in running:
        if one.poll() is None:
            one.kill()
            one.wait()
    return None if any(one.returncode for one in running) else (took, said[0])


def pyav_rate(path: Path, streams: int, seconds: float, cuda: bool) -> tuple[float, str] | None:
    """Frames/s of PyAV alone on so many threads; None where the GPU decodes nothing."""
    import av
    import av.error
    from av.codec.hwaccel import HWAccel

    more: dict[str, Any] = {}
    if cuda:
        more["hwaccel"] = HWAccel("cuda", allow_software_fallback=False)
    try:
        with av.open(str(path), **more) as container:
            next(container.decode(video=0))
    except (av.error.FFmpegError, NotImplementedError, RuntimeError):
        return None
    counts: list[int] = []
    end = time.perf_counter() + seconds

    def work() -> None:
        done = 0
        while time.perf_counter() < end:
            hardware = {"hwaccel": HWAccel("cuda", allow_software_fallback=False)} if cuda else {}
            with av.open(str(path), **hardware) as container:
                for _ in container.decode(video=0):
                    done += 1
                    if time.perf_counter() >= end:
                        break
        counts.append(done)

    threads = [threading.Thread(target=work) for _ in range(streams)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    return sum(counts) / took, "PyAV with NVDEC" if cuda else "PyAV"
