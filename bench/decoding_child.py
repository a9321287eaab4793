"""One side of `bench.decoding`, in a process of its own so that its processor time is its alone.

    python -m bench.decoding_child ours|opencv URL ARGUMENT

`ours`: our pool reads the camera with `streams.decode` = ARGUMENT, and 2 times a second the newest frame
is converted, as for an analysis at 2 fps. `opencv`: `cv2.VideoCapture.read` of every frame.

Prints `ready` when frames come; for each number of seconds on a line of its input it prints what it used
and read in that time, as JSON; ends with its input.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

TARGET_FPS = 2
PATIENCE_SEC = 60.0
Counts = Callable[[], dict[str, Any]]


def serve(counts: Counts) -> None:
    """Answer what is asked for; `counts` gives totals so far, or words."""
    print("ready", flush=True)
    for line in sys.stdin:
        before, cpu, began = counts(), time.process_time(), time.perf_counter()
        time.sleep(float(line))
        used, lasted, after = time.process_time() - cpu, time.perf_counter() - began, counts()
        rates = {name: (after[name] - before[name]) / lasted for name in after if name != "mode"}
        print(json.dumps({"cpu": used / lasted, "mode": after.get("mode"), **rates}), flush=True)


def ours(url: str, decode: str) -> None:
    """Ends at once when its input ends: there is nothing that could be lost."""
    from siwatsystem import metrics
    from siwatsystem.config import Settings, StreamSettings
    from siwatsystem.streams.pool import SourcePool
    from siwatsystem.streams.spec import SourceSpec

    settings = Settings(target_fps=TARGET_FPS, streams=StreamSettings(decode=decode))  # pyright: ignore[reportArgumentType]
    pool = SourcePool(settings, lambda _: None)
    source = pool.acquire(SourceSpec(url))
    looked = [0]

    def look() -> None:
        due, sequence = time.monotonic(), 0
        while True:
            if (frame := source.wait_newer(sequence, 1.0)) is not None:
                sequence = frame.sequence
                assert frame.image.shape[2] == 3
                looked[0] += 1
            due = max(due + 1 / TARGET_FPS, time.monotonic())
            time.sleep(due - time.monotonic() if due > time.monotonic() else 0)

    def counts() -> dict[str, Any]:
        label = {"source": source.spec.label}
        return {
            "packets": metrics.PACKETS_RECEIVED.labels(**label)._value.get(),  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType]
            "decoded": metrics.FRAMES_DECODED.labels(**label)._value.get(),  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType]
            "converted": looked[0],
            "mode": source.decoding.policy,
        }

    deadline = time.monotonic() + PATIENCE_SEC
    while not source.online and time.monotonic() < deadline:
        time.sleep(0.05)
    threading.Thread(target=look, daemon=True).start()
    serve(counts)


def opencv(url: str, _: str) -> None:
    import cv2

    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    read = [0]
    first = threading.Event()

    def run() -> None:
        while capture.read()[0]:
            read[0] += 1
            first.set()

    threading.Thread(target=run, daemon=True).start()
    first.wait(PATIENCE_SEC)
    serve(lambda: {"decoded": read[0], "converted": read[0]})


if __name__ == "__main__":
    {"ours": ours, "opencv": opencv}[sys.argv[1]](*sys.argv[2:])
    sys.stdout.flush()
    # Reading threads are in the midst of a call that nothing ends.
    __import__("os")._exit(0)
