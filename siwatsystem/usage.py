"""How busy the machine is: four percentages, the GPU's from NVML where there is one.

NVML is native code that may hang, so it is read on a thread that can be left behind.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

from siwatsystem.supervision import MOST_STUCK, Forget, Watch, Watched, unwatched

log = logging.getLogger(__name__)

RETRY_SEC = 60.0
"""Wait before GPUs that could not be read are looked for again."""
STUCK_SEC = 30.0
"""A reading that takes longer hangs."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Percentages, 0–100; the GPU's are None without a GPU."""

    cpu: float
    memory: float
    gpu: float | None = None
    gpu_memory: float | None = None


class UsageMeter:
    """Reads the machine. With several GPUs the busiest counts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._gpus: list[Any] | None = None
        self._retry_at = clock()
        self._failure = ""
        psutil.cpu_percent(interval=None)  # the first call only sets the mark that the next one measures from

    def read(self) -> Usage:
        """The usage since the last call; never raises."""
        gpu, gpu_memory = self._read_gpus()
        return Usage(
            cpu=round(min(psutil.cpu_percent(interval=None), 100.0), 1),
            memory=round(psutil.virtual_memory().percent, 1),
            gpu=gpu,
            gpu_memory=gpu_memory,
        )

    def _read_gpus(self) -> tuple[float | None, float | None]:
        import pynvml

        if self._gpus is None and self._clock() < self._retry_at:
            return None, None
        try:
            if self._gpus is None:
                self._gpus = _find_gpus()
            if not self._gpus:
                return None, None
            busy = max(float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu) for gpu in self._gpus)
            memory = [pynvml.nvmlDeviceGetMemoryInfo(gpu) for gpu in self._gpus]
            return busy, round(max(100.0 * int(part.used) / int(part.total) for part in memory), 1)
        except pynvml.NVMLError as error:
            # Each look again may fail alike; a machine without a GPU says so once.
            if self._failure != str(error):
                self._failure = str(error)
                log.info("GPUs cannot be read: %s", error)
            self._gpus = None
            self._retry_at = self._clock() + RETRY_SEC
            return None, None


class UsageReader:
    """Reads every `interval_sec`, once started. `usage` is the newest reading; from any thread."""

    def __init__(
        self, interval_sec: float, watch: Watch = unwatched, make: Callable[[], UsageMeter] = UsageMeter
    ) -> None:
        self.usage = Usage(0.0, round(psutil.virtual_memory().percent, 1))
        self._interval_sec = interval_sec
        self._watch = watch
        self._make = make
        self._ended = threading.Event()
        self._lock = threading.Lock()
        """For who has the thread that counts, and since when it reads."""
        self._thread: threading.Thread | None = None
        self._began: float | None = None
        """When the reading under way began (`time.monotonic()`); None between two."""
        self._stuck: set[threading.Thread] = set()
        """Those that were given up and have not come back since."""
        self._forget: Forget = lambda: None

    def start(self) -> None:
        self._begin()
        self._forget = self._watch(Watched("usage", "of the machine", self._look, self._renew))

    def close(self) -> None:
        """Read no more; a reading under way is left to itself."""
        self._ended.set()
        self._forget()

    def _begin(self) -> None:
        thread = threading.Thread(target=self._run, name="usage", daemon=True)
        with self._lock:
            self._thread, self._began = thread, time.monotonic()
        thread.start()

    def _run(self) -> None:
        meter = self._make()
        while True:
            usage = meter.read()
            if not self._notes(None):
                return
            self.usage = usage
            if self._ended.wait(self._interval_sec) or not self._notes(time.monotonic()):
                return

    def _notes(self, began: float | None) -> bool:
        """Note since when this thread reads; False where another has taken its place."""
        with self._lock:
            if self._thread is not threading.current_thread():
                return False
            self._began = began
            return True

    def _look(self, now: float) -> str | None:
        with self._lock:
            began, thread = self._began, self._thread
        if thread is None or not thread.is_alive():
            return "its thread has ended"
        if began is not None and now - began > STUCK_SEC:
            return f"a reading takes longer than {STUCK_SEC:g} s"
        return None

    def _renew(self) -> bool:
        """Read on another thread; False where too many hang, or none is to be had."""
        self._stuck = {one for one in {*self._stuck, self._thread} if one is not None and one.is_alive()}
        if len(self._stuck) >= MOST_STUCK:
            return False
        try:
            self._begin()
        except RuntimeError as error:
            log.warning("the usage is not read: %s", error)
            self._thread = None
            return False
        return True


def _find_gpus() -> list[Any]:
    """Handles of all GPUs. Raises NVMLError."""
    import pynvml

    pynvml.nvmlInit()
    return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
