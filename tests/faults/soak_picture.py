"""The picture of a soak: what the worker held and did over time, with the faults as marks."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from siwatsystem.runtime.silence import silence
from tests.faults.samples import Sample, column
from tests.faults.verdict import Outage, slope

COLOURS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea")
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#94a3b8",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e8f0",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
}
ROWS: tuple[tuple[str, dict[str, str]], ...] = (
    ("threads, descriptors, children", {name: name for name in ("threads", "descriptors", "children")}),
    ("age of the newest frame, s", {"rtsp_age_sec": "RTSP", "http_age_sec": "snapshots"}),
    ("actions waiting", {"waiting": "outbox"}),
    ("detections received", {"detections": "detections"}),
    ("reconnects of cameras", {"reconnects": "reconnects"}),
)
MEMORY = {"rss_mb": "RSS", "pss_mb": "PSS", "uss_mb": "USS", "own_mb": "allocated"}


def draw(samples: Sequence[Sample], outages: Sequence[Outage], target: Path) -> None:
    """Write the picture as PNG. Raises OSError."""
    silence()
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    partial = target.with_name(f".{target.stem}.part.png")
    target.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        figure = Figure(figsize=(13, 15), layout="constrained")
        FigureCanvasAgg(figure)
        heights = [3, *[1.2] * len(ROWS), 4]
        axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        _memory(axes[0], samples)
        hours = [sample.at_sec / 3600 for sample in samples]
        for axis, (title, names) in zip(axes[1:-1], ROWS, strict=True):
            for (name, label), colour in zip(names.items(), COLOURS, strict=False):
                axis.plot(hours, column(samples, name), color=colour, linewidth=0.9, label=label)
            axis.set_title(title)
            axis.legend(loc="upper left", ncols=3)
        _faults(axes[-1], outages)
        for axis in axes[:-1]:
            for outage in outages:
                begin, end = outage.began_sec / 3600, (outage.began_sec + outage.lasted_sec) / 3600
                axis.axvspan(begin, end, color="#64748b" if outage.kept else "#dc2626", alpha=0.15, lw=0)
        axes[-1].set_xlabel("hours")
        figure.savefig(partial, dpi=110)
    partial.replace(target)


def _memory(axis: Any, samples: Sequence[Sample]) -> None:
    hours = [sample.at_sec / 3600 for sample in samples]
    for (name, label), colour in zip(MEMORY.items(), COLOURS, strict=True):
        axis.plot(hours, column(samples, name), color=colour, linewidth=0.9, label=label)
    grown = slope(samples)
    if grown.points:
        begin, end = grown.from_sec / 3600, grown.to_sec / 3600
        # The line goes through the medians, as the slope is one.
        middle = statistics.median(mb for _, mb in grown.points)
        rise = grown.mb_per_hour * (end - begin) / 2
        label = f"{grown.mb_per_hour:+.2f} MB/h, {grown.where}"
        axis.plot(*zip(*grown.points, strict=True), ".", color="#dc2626", markersize=5)
        axis.plot([begin, end], [middle - rise, middle + rise], color="#dc2626", ls="--", label=label)
    axis.set_title("memory of the worker, MB")
    axis.legend(loc="lower right", ncols=5)


def _faults(axis: Any, outages: Sequence[Outage]) -> None:
    names = sorted({outage.name for outage in outages}, reverse=True)
    for outage in outages:
        colour = "#64748b" if outage.kept else "#dc2626"
        begin, length = outage.began_sec / 3600, outage.lasted_sec / 3600
        axis.barh(names.index(outage.name), length, left=begin, color=colour, height=0.7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set_title("faults (red: frames did not come again within 10 s)")
