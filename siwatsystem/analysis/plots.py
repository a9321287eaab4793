"""Plots of an analysis as PNG: detections over time, confidences, time per node."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from siwatsystem.analysis.tally import BIN_SEC, CONFIDENCES, Tally
from siwatsystem.runtime.silence import silence

COLOURS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626", "#0891b2", "#ca8a04", "#db2777")
POINTS = 400
"""Most points along the time axis."""
_CURVES = 8
"""Most classes in one plot; the most frequent ones."""


def plots(tally: Tally, folder: Path, name: str) -> list[Path]:
    """Write `{name}.detections.png`, `.confidences.png` and `.timing.png`, those that have data.

    Raises OSError; what was written stays.
    """
    # Else matplotlib keeps its list of fonts under the home folder.
    silence()
    made: list[Path] = []
    for kind, draw, data in (
        ("detections", _detections, tally.timeline),
        ("confidences", _confidences, tally.confidences),
        ("timing", _timing, any(tally.node_seconds.values())),
    ):
        if data:
            made.append(_save(draw, tally, folder / f"{name}.{kind}.png"))
    return made


def _save(draw: Callable[[Tally], Any], tally: Tally, path: Path) -> Path:
    from matplotlib import rc_context

    style: Any = {
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#94a3b8",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e2e8f0",
        "axes.titlesize": 13,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "legend.frameon": False,
        # Classes are called what they are called, `$` included.
        "text.parse_math": False,
    }
    partial = path.with_name(f".{path.stem}.part.png")
    with rc_context(style):
        figure = draw(tally)
        try:
            figure.savefig(partial, dpi=130)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def _figure(rows: int = 1, height: float = 4.0) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, 1, squeeze=False, sharex=rows > 1)[:, 0])


def _detections(tally: Tally) -> Any:
    pieces = max(1, int(tally.seconds / BIN_SEC) + 1)
    wide = -(-pieces // POINTS)
    # A rate of analysis below that of the pieces would draw gaps between them.
    wide = max(wide, round(tally.seconds / max(tally.frames, 1) / BIN_SEC + 0.5))
    names = [name for name, _ in tally.boxes.most_common(_CURVES)]
    figure, axes = _figure(len(names), max(2.6, 1.2 + 1.3 * len(names)))
    for axis, name, colour in zip(axes, names, COLOURS, strict=False):
        counts = [0] * (-(-pieces // wide))
        for piece, count in tally.timeline[name].items():
            counts[piece // wide] = max(counts[piece // wide], count)
        edges = [number * wide * BIN_SEC for number in range(len(counts) + 1)]
        axis.stairs(counts, edges, fill=True, color=colour, alpha=0.35)
        axis.stairs(counts, edges, color=colour, linewidth=1.6)
        distinct = tally.objects(name)
        axis.set_title(name if distinct is None else f"{name} – {distinct} in all", fontsize=11)
        axis.set_ylim(0, max(counts) * 1.15 + 0.1)
        axis.yaxis.get_major_locator().set_params(integer=True, nbins=4)
        axis.set_xlim(0, max(tally.seconds, BIN_SEC))
        axis.set_ylabel("at a time")
    axes[-1].set_xlabel("seconds")
    figure.suptitle("Detections over time", x=0.01, ha="left", fontweight="bold")
    return figure


def _confidences(tally: Tally) -> Any:
    by_kind: dict[str, dict[str, Counter[int]]] = {}
    for (node, said), pieces in tally.confidences.items():
        by_kind.setdefault(node, {})[said] = pieces
    kinds = sorted(by_kind)
    figure, axes = _figure(len(kinds), 1.0 + 2.3 * len(kinds))
    for axis, kind in zip(axes, kinds, strict=True):
        _histogram(axis, by_kind[kind])
        axis.set_title(kind or "Boxes", fontsize=11)
    axes[-1].set_xlabel("confidence")
    figure.suptitle("Confidences", x=0.01, ha="left", fontweight="bold")
    return figure


def _histogram(axis: Any, classes: Mapping[str, Counter[int]]) -> None:
    """Classes stacked, the most frequent below."""
    edges = [number / CONFIDENCES for number in range(CONFIDENCES)]
    base = [0] * CONFIDENCES
    names = sorted(classes, key=lambda name: -classes[name].total())[:_CURVES]
    for name, colour in zip(names, COLOURS, strict=False):
        counts = [classes[name][number] for number in range(CONFIDENCES)]
        label = f"{name} ({classes[name].total()})"
        axis.bar(edges, counts, 1 / CONFIDENCES, base, align="edge", color=colour, label=label, alpha=0.85)
        base = [below + count for below, count in zip(base, counts, strict=True)]
    axis.set_xlim(0, 1)
    axis.set_ylabel("times")
    axis.legend(loc="upper left", fontsize=9)


def _timing(tally: Tally) -> Any:
    names = [name for name in tally.outcomes if tally.node_seconds.get(name)]
    times = [[1000 * value for value in tally.node_seconds[name]] for name in names]
    figure, (axis,) = _figure(1, 1.6 + 0.55 * len(names))
    # The rare first runs, which warm up, would squeeze all others to a line.
    boxes = axis.boxplot(times, orientation="horizontal", whis=(5, 95), showfliers=False, patch_artist=True)
    for number, (name, values) in enumerate(zip(names, times, strict=True)):
        boxes["boxes"][number].set(facecolor=COLOURS[number % len(COLOURS)], alpha=0.55)
        boxes["medians"][number].set(color="#0f172a", linewidth=1.6)
        median, runs = sorted(values)[len(values) // 2], len(values)
        axis.annotate(
            f"{name}: {median:.1f} ms, {runs} runs",
            (0.0, number + 0.64),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=9,
            va="center",
        )
    axis.set_yticks([])
    axis.set_ylim(len(names) + 0.6, 0.4)
    axis.set_xlim(left=0)
    axis.set_xlabel("milliseconds (box: middle half, whiskers: 5–95 %)")
    figure.suptitle("Time per node", x=0.01, ha="left", fontweight="bold")
    return figure
