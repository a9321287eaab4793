"""A whole analysis in numbers, as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from siwatsystem.analysis.tally import Tally


def summary(
    tally: Tally,
    sources: Sequence[str],
    wall_sec: float,
    problems: Sequence[str] = (),
    cpu_sec: float | None = None,
) -> dict[str, Any]:
    """`{sources, frames, events, seconds, wallSeconds, cpuSeconds, framesPerSecond, objects, labels, actions,
    nodes, problems}`.

    `seconds` of material took `wallSeconds`, and `cpuSeconds` of processor time (null: not measured).
    `objects` by class: `distinct` (by track; null where nothing tracks), `boxes` on all frames, `most` at a
    time. `nodes`: how often each `ran`, was `skipped` or `failed`, milliseconds of a run.
    """
    return {
        "sources": list(sources),
        "frames": tally.frames,
        "events": tally.events,
        "seconds": round(tally.seconds, 3),
        "wallSeconds": round(wall_sec, 3),
        "cpuSeconds": None if cpu_sec is None else round(cpu_sec, 3),
        "framesPerSecond": round(tally.frames / wall_sec, 2) if wall_sec > 0 else None,
        "objects": {
            name: {"distinct": tally.objects(name), "boxes": boxes, "most": tally.most[name]}
            for name, boxes in sorted(tally.boxes.items())
        },
        "labels": {node: dict(labels.most_common()) for node, labels in sorted(tally.labels().items())},
        "actions": dict(sorted(tally.actions.items())),
        "nodes": {node: _node(tally, node) for node in tally.outcomes},
        "problems": list(problems),
    }


def write(found: dict[str, Any], path: Path) -> None:
    """Raises OSError; what was there before stays then."""
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _node(tally: Tally, node: str) -> dict[str, Any]:
    outcomes = tally.outcomes[node]
    times = sorted(tally.node_seconds.get(node, ()))
    found: dict[str, Any] = {name: outcomes[name] for name in ("ran", "skipped", "failed")}
    if times:
        found["meanMs"] = round(1000 * sum(times) / len(times), 2)
        found["p95Ms"] = round(1000 * times[min(int(0.95 * len(times)), len(times) - 1)], 2)
        found["totalSec"] = round(sum(times), 3)
    return found
