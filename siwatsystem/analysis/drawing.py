"""A frame as people look at it: its boxes, the zones, and how many of what there are."""

from siwatsystem.analysis.analysis import Analysed
from siwatsystem.analysis.tally import Tally
from siwatsystem.frames import Image
from siwatsystem.overlay import annotate
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.node import Node
from siwatsystem.pipeline.zones import Corner, in_pixels
from siwatsystem.streams.clip import clock


def annotated(analysed: Analysed, pipeline: Pipeline, tally: Tally) -> Image:
    """A copy of the frame (H×W×3 BGR); `tally` has counted it."""
    image = analysed.frame.image
    height, width = image.shape[:2]
    zones = [in_pixels(zone, width, height) for zone in zones_of(pipeline.spec.pipeline)]
    return annotate(image, analysed.events, analysed.boxes, zones, _counters(analysed, tally))


def _counters(analysed: Analysed, tally: Tally) -> list[str]:
    """When it is, and by class how many there are and were."""
    lines = [f"{clock(analysed.frame.at)}  frame {analysed.frame.index}"]
    for name in sorted(tally.boxes):
        distinct = tally.objects(name)
        more = "" if distinct is None else f" now, {distinct} in all"
        lines.append(f"{name}: {tally.now[name]}{more}")
    return lines


def zones_of(root: Node) -> list[tuple[Corner, ...]]:
    """The zones of nodes that look at the whole picture."""
    found = [] if root.tracking is None or root.tracking.zone is None else [tuple(root.tracking.zone)]
    return found + [zone for branch in root.branches if not branch.crop for zone in zones_of(branch)]
