"""How a worker is from moment to moment, written to a CSV file line by line."""

import csv
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from pathlib import Path

from tests.faults.scene import CAMERAS, Scene, total
from tests.faults.site import own_mb

RECONNECTS = "siwat_source_reconnects_total{"


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the file. Sizes in megabytes (10⁶ bytes), ages in seconds."""

    at_sec: float
    """Since the soak began."""
    rss_mb: float
    pss_mb: float
    uss_mb: float
    """What would be free without the process; mapped files count while nobody else maps them."""
    own_mb: float
    """What it has allocated (anonymous and swapped pages), whoever else runs the same libraries."""
    threads: int
    descriptors: int
    children: int
    rtsp_age_sec: float
    """Of the newest frame since its capture; NaN before there is one."""
    http_age_sec: float
    rtsp_analysed: float
    http_analysed: float
    delay_sec: float
    """The longest from a frame's capture to its detection, since the line before; NaN without one."""
    waiting: int
    """Actions in the outbox."""
    reconnects: float
    detections: int
    """That the backend received so far."""
    restarts: float
    """Of parts of the worker, by its own supervision."""
    failed_parts: float


class Sampler:
    """Samples a scene every `every_sec` on a thread of its own; pictures of the cameras are fetched too."""

    def __init__(self, here: Scene, file: Path, began: float, every_sec: float) -> None:
        self._here = here
        self._file = file
        self._began = began
        self._every_sec = every_sec
        self._last: dict[str, float] = {}
        self._reconnects = 0.0
        self.samples: list[Sample] = []
        self.unanswered = 0
        """Times that the worker did not answer a request."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)

    def _run(self) -> None:
        with self._file.open("w", newline="") as output:
            table = csv.writer(output)
            table.writerow(field.name for field in fields(Sample))
            while not self._ended.wait(self._every_sec):
                try:
                    sample = self._sample()
                except Exception:
                    # Whatever it is, the next sample may be had again.
                    self.unanswered += 1
                    traceback.print_exc()
                    continue
                self.samples.append(sample)
                table.writerow(f"{one:.6g}" for one in astuple(sample))
                output.flush()

    def _sample(self) -> Sample:
        here, process = self._here, self._here.process
        memory, series = process.memory_full_info(), here.metrics()
        delays = [here.backend.delays.popleft() for _ in range(len(here.backend.delays))]
        name = 'subscription="{}"'
        analysed = {
            kind: total(series, "siwat_frames_analysed_total", name.format(one))
            for kind, one in CAMERAS.items()
        }
        return Sample(
            at_sec=time.monotonic() - self._began,
            rss_mb=memory.rss / 1e6,
            pss_mb=memory.pss / 1e6,
            uss_mb=memory.uss / 1e6,
            own_mb=own_mb(process),
            threads=process.num_threads(),
            descriptors=process.num_fds(),
            children=len(process.children(recursive=True)),
            rtsp_age_sec=self._age("rtsp"),
            http_age_sec=self._age("http"),
            rtsp_analysed=analysed["rtsp"],
            http_analysed=analysed["http"],
            delay_sec=max(delays, default=float("nan")),
            waiting=here.waiting(),
            reconnects=self._reconnected(series),
            detections=here.backend.counts["imageDetection"],
            restarts=total(series, "siwat_restarts_total"),
            failed_parts=total(series, "siwat_failed_parts"),
        )

    def _age(self, kind: str) -> float:
        url = f"http://127.0.0.1:{self._here.worker.port}/camera/{CAMERAS[kind]}/image"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                answer.read()
                captured = datetime.fromisoformat(answer.headers["x-captured-at"])
        except urllib.error.HTTPError as error:
            error.close()
            return float("nan")
        return time.time() - captured.timestamp()

    def _reconnected(self, series: dict[str, float]) -> float:
        """Reconnects so far, over sources that have ended since (their series begin anew) as well."""
        now = {name: value for name, value in series.items() if name.startswith(RECONNECTS)}
        for name, value in now.items():
            before = self._last.get(name, 0.0)
            self._reconnects += value - before if value >= before else value
        self._last = now
        return self._reconnects


def column(samples: Sequence[Sample], name: str) -> list[float]:
    return [float(getattr(sample, name)) for sample in samples]
