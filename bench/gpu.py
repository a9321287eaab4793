"""Frames per second of the demo pipeline on a GPU, beside its bare models and beside decoding alone.

    python -m bench.gpu [--json] [--device cuda|cpu] [--seconds 3] [--repeats 5] [--streams 64]

Needs the checkout and the packages of requirements.base.txt, no server, no camera, no network. PyAV
and TensorRT may be missing: what needs them is left out, and the result says so. With `--device cpu`
the same code runs on a processor, which proves that it runs and nothing else.
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import gpu_decode, gpu_sides
from bench.record import Measure, Row, Spread, finish
from siwatsystem.errors import SiwatError
from siwatsystem.frames import Frame, Image
from siwatsystem.views import View

CLIPS = Path(__file__).parent.parent / "demo" / "clips"
GOAL = 0.8
CALLERS = (16, 32, 64)
FEW_CALLERS = (4,)
"""Frames under way at a time: what fills batches of 16 with time to spare, and more than that."""
FRAME_SIZE = 1920, 1080
_PROCESSES = 16
"""`ffmpeg`s at a time: more than any card has decoders."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each repetition")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--streams", type=int, default=64, help="1080p25 streams decoded at a time")
    parser.add_argument("--frames", type=int, default=64, help="different frames in memory")
    parser.add_argument("--only", choices=("models", "decode"), help="leave the other part out")
    given = parser.parse_args(arguments)
    if given.device == "cuda":
        require_gpu()
    row = measured(given.device, given.seconds, given.repeats, given.streams, given.frames, given.only)
    finish(row, as_json=given.json, keep=given.device == "cuda")


def require_gpu() -> None:
    """Raises SystemExit with the reason where torch sees no GPU."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("torch sees no NVIDIA GPU here; --device cpu runs the same code without one")


def measured(
    device: str, seconds: float, repeats: int, streams: int, frames: int, only: str | None = None
) -> Row:
    """Everything that can be measured on `device`."""
    figures: dict[str, Any] = {"card": card(device), "left_out": []}
    measures: list[Measure] = []
    pictures = frames_in_memory(frames)
    figures["frames"] = f"{len(pictures)} of {FRAME_SIZE[0]}x{FRAME_SIZE[1]}"
    fastest: gpu_sides.Variant | None = None
    most = 0.0
    for variant in gpu_sides.variants(device, importlib.util.find_spec("tensorrt") is not None):
        if only == "decode":
            fastest = variant
            continue
        with _opened(variant, device, figures["left_out"]) as side:
            if side is None:
                continue
            measure, found = models(side, device, pictures, seconds, repeats)
            figures[variant.name] = found
            measures.append(measure)
            if found["frames_per_sec"]["median"] > most:
                fastest, most = variant, found["frames_per_sec"]["median"]
    if importlib.util.find_spec("tensorrt") is None and device == "cuda":
        figures["left_out"].append("TensorRT: not installed")
    if only != "models" and fastest is not None:
        if importlib.util.find_spec("av") is None:
            figures["left_out"].append("decoding: PyAV is not installed")
        else:
            with _opened(fastest, device, figures["left_out"]) as side:
                if side is not None:
                    figures["streams"] = found = decoding(side, device, seconds, repeats, streams)
                    measures.append(found.pop("measure"))
    return Row(
        "gpu", 12, "the demo pipeline on a GPU", "its bare models, and decoding alone", measures, figures
    )


def models(
    side: gpu_sides.Side, device: str, frames: Sequence[Image], seconds: float, repeats: int
) -> tuple[Measure, dict[str, Any]]:
    """The pipeline on frames in memory against its bare models, both in turn; then latencies."""
    cuda = device == "cuda"
    callers = CALLERS if cuda else FEW_CALLERS
    batches = gpu_sides.BATCHES if cuda else (1, 2)
    for some in callers:
        gpu_sides.saturated(side, frames, some, min(1.0, seconds))
    tried = {some: gpu_sides.saturated(side, frames, some, seconds) for some in callers}
    best = max(callers, key=lambda some: tried[some].rate)
    ratios: list[float] = []
    ours: list[float] = []
    bare: list[float] = []
    chosen: dict[str, int] = {}
    last = tried[best]
    for _ in range(repeats):
        last = gpu_sides.saturated(side, frames, best, seconds)
        rates = gpu_sides.bare_rates(side, device, seconds / (3 * len(batches)), batches)
        most, chosen = gpu_sides.limit(rates, last.per_frame)
        ours.append(last.rate)
        bare.append(most)
        ratios.append(last.rate / most)
    spread = Spread.of(ours)
    figures = {
        "frames_per_sec": {"min": spread.min, "median": spread.median, "max": spread.max},
        "bare_frames_per_sec": {"min": min(bare), "median": Spread.of(bare).median, "max": max(bare)},
        "frames_under_way": best,
        "by_frames_under_way": {str(some): round(one.rate, 1) for some, one in tried.items()},
        "bare_batch": chosen,
        "mean_batch": {name: round(value, 2) for name, value in last.batch.items()},
        "pictures_per_frame": {name: round(value, 2) for name, value in last.per_frame.items()},
        "events": last.events,
        "load_sec": round(side.load_sec, 2),
        "runtimes": side.runtimes,
        "cuda_graphs": side.recorded,
        "latency_at_80_percent": gpu_sides.paced(side, frames, 0.8 * spread.median, best, seconds),
        "gpu_memory_mb": _gpu_memory_mb() if cuda else None,
    }
    return Measure(f"{side.variant.name}: frames/s", Spread.of(ratios), GOAL, "least"), figures


def decoding(side: gpu_sides.Side, device: str, seconds: float, repeats: int, streams: int) -> dict[str, Any]:
    """Streams decoded and analysed against decoding alone, in turn; `measure` is the ratio."""
    from bench.clips import clip

    cuda = device == "cuda"
    clip_sec = 20 if cuda else 2
    path = clip(*FRAME_SIZE, gpu_decode.FPS, clip_sec)
    frames = gpu_decode.FPS * clip_sec
    notes: list[str] = []

    def analyse(picture: Any) -> None:
        side.run(View(Frame(picture, captured_at=time.time(), monotonic=time.monotonic())))

    def alone() -> tuple[float, str]:
        loops, processes = (2, min(streams, _PROCESSES)) if cuda else (1, 1)
        for hardware in (True, False) if cuda else (False,):
            found = gpu_decode.ffmpeg_rate(path, frames, processes, loops, hardware)
            found = found or gpu_decode.pyav_rate(path, streams, seconds, hardware)
            if found is not None:
                return found
            notes.append("NVDEC is not offered here: software on both sides")
        raise RuntimeError("nothing here decodes the clip")

    gpu_decode.streams_of(path, streams, min(1.0, seconds), analyse)
    ratios: list[float] = []
    both: list[gpu_decode.Decoded] = []
    theirs: list[float] = []
    against = ""
    for _ in range(repeats):
        both.append(gpu_decode.streams_of(path, streams, seconds, analyse))
        rate, against = alone()
        theirs.append(rate)
        ratios.append(both[-1].decoded / rate)
    only = gpu_decode.streams_of(path, streams, seconds, None)
    decoded, analysed = (Spread.of([getattr(one, key) for one in both]) for key in ("decoded", "analysed"))
    return {
        "measure": Measure(
            f"1080p25 H.264 decoded and analysed at {gpu_decode.ANALYSED_FPS} fps, against {against}",
            Spread.of(ratios),
            GOAL,
            "least",
        ),
        "variant": side.variant.name,
        "streams": streams,
        "decoded_per_sec": decoded.median,
        "analysed_per_sec": analysed.median,
        "real_time_streams": round(decoded.median / gpu_decode.FPS, 1),
        "decoded_by": both[-1].device,
        "decoded_alone_per_sec": round(only.decoded, 1),
        "against": against,
        "against_per_sec": Spread.of(theirs).median,
        "notes": sorted(set(notes)),
    }


def frames_in_memory(count: int) -> list[Image]:
    """`count` BGR frames of the demo's clips, spread over them, brought to 1080p."""
    import cv2

    found: list[Image] = []
    paths = sorted(CLIPS.glob("*.mp4"))
    for path in paths:
        film: Any = cv2.VideoCapture(str(path))
        wanted = -(-count // len(paths))
        step = max(1, int(film.get(cv2.CAP_PROP_FRAME_COUNT)) // wanted)
        index, taken = 0, 0
        while taken < wanted and film.grab():
            if index % step == step // 2:
                image: Any = film.retrieve()[1]
                found.append(cv2.resize(image, FRAME_SIZE, interpolation=cv2.INTER_LINEAR))  # pyright: ignore
                taken += 1
            index += 1
        film.release()
    if not found:
        raise RuntimeError("the demo's clips cannot be read")
    return found[:count]


def card(device: str) -> dict[str, Any]:
    """What it ran on: card, driver, versions."""
    import torch

    versions = {"torch_cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    for package in ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "nvidia-cudnn-cu13"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    if device != "cuda":
        return {"name": "none: a processor", **versions, "threads": os.cpu_count()}
    of = torch.cuda.get_device_properties(0)
    return {
        "name": of.name,
        "capability": f"{of.major}.{of.minor}",
        "memory_mb": of.total_memory >> 20,
        "driver": _driver(),
        **versions,
    }


@contextlib.contextmanager
def _opened(variant: gpu_sides.Variant, device: str, left_out: list[str]) -> Iterator[gpu_sides.Side | None]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            side = gpu_sides.Side(variant, device, Path(folder))
        except SiwatError as error:
            left_out.append(f"{variant.name}: {error.message}")
            yield None
            return
        try:
            yield side
        finally:
            side.close()


def _driver() -> str:
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
        return text.splitlines()[0].partition(":")[2].strip()
    except (OSError, IndexError):
        pass
    try:
        import pynvml

        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except Exception:  # whatever the driver's library says, a figure is no reason to fail
        return "unknown"


def _gpu_memory_mb() -> int:
    import torch

    free, total = torch.cuda.mem_get_info(0)
    return (total - free) >> 20


if __name__ == "__main__":
    main()
