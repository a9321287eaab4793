"""What further displays on a camera cost: ten on the same camera, model and crop, against one.

python -m bench.displays [--json] [--repeats 3]

The worker, its embedded Redis and PostgreSQL and the camera are real, the archive is the demo's with
all its actions. Both sides run in one worker in turns, each for as long as the clip plays, so both
see the same film. The databases are processes of their own and do not count.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import rig
from bench.clips import clip
from bench.record import Measure, Row, Spread, finish

DISPLAYS = 10
WINDOW_SEC = 8
"""How long a side is looked at, and how long the clip is."""
SETTLE_SEC = 1.5
"""After subscribing: trackers begin, actions for what stands there already are done."""


@dataclass(frozen=True, slots=True)
class Side:
    """One window: processor seconds of the worker, and what it did meanwhile."""

    cpu: float
    messages: int
    first: int
    """Messages of the display that is there on both sides."""
    frames: int
    actions: int

    def as_dict(self) -> dict[str, float]:
        return {
            "cpu_percent": round(100 * self.cpu / WINDOW_SEC, 2),
            "messages": self.messages,
            "frames": self.frames,
            "actions": self.actions,
        }


def look(running: rig.Worker, client: rig.Client) -> Side:
    """One window of what runs now."""
    frames, actions = running.metric("siwat_frames_analysed_total"), running.metric("siwat_actions_total")
    messages, first = client.counts["imageDetection"], client.detections[name(0)]
    cpu = running.cpu_seconds()
    time.sleep(WINDOW_SEC)
    cpu = running.cpu_seconds() - cpu
    messages, first = client.counts["imageDetection"] - messages, client.detections[name(0)] - first
    return Side(
        cpu,
        messages,
        first,
        int(running.metric("siwat_frames_analysed_total") - frames),
        int(running.metric("siwat_actions_total") - actions),
    )


def name(number: int) -> str:
    return f"display-{number};camera"


def compare(fps: str, repeats: int, folder: Path = rig.DATA) -> list[tuple[Side, Side]]:
    """One display and ten, in turns. Raises RuntimeError where a display never comes online."""
    film = clip(seconds=WINDOW_SEC)
    found: list[tuple[Side, Side]] = []
    with (
        rig.cameras({"camera": film}) as cameras,
        rig.worker(folder, SIWAT_TARGET_FPS=fps) as running,
        rig.Client(running) as client,
    ):
        for number in range(DISPLAYS):
            session = {"displayIdentifier": f"display-{number}", "sessionId": 7000 + number}
            client.send({"type": "setSessionId", "payload": session})
        client.subscribe(name(0), cameras.url("camera"))
        client.wait(lambda: client.detections[name(0)], "the camera is seen")
        client.wait(lambda: _decided(running), "the archive's precision is decided")
        for _ in range(repeats):
            time.sleep(SETTLE_SEC)
            one = look(running, client)
            for number in range(1, DISPLAYS):
                client.subscribe(name(number), cameras.url("camera"))
            client.wait(lambda: len(client.online()) == DISPLAYS, "all displays are online")
            time.sleep(SETTLE_SEC)
            found.append((one, look(running, client)))
            for number in range(1, DISPLAYS):
                payload = {"subscriptionIdentifier": name(number)}
                client.send({"type": "unsubscribe", "payload": payload})
            client.wait(lambda: len(client.online()) == 1, "the others have gone")
    return found


def _decided(running: rig.Worker) -> bool:
    """Whether *exact* and *fast* have been compared: that costs, and is over after a while."""
    precision: dict[str, str] = json.loads(running.get("/health"))["precision"]
    return bool(precision) and not any("compared" in reason for reason in precision.values())


def measures(fps: str, found: list[tuple[Side, Side]]) -> list[Measure]:
    ratios = [ten.cpu / one.cpu for one, ten in found]
    frames = [ten.frames / max(one.frames, 1) for one, ten in found]
    told = [ten.messages / max(ten.first, 1) for _, ten in found]
    return [
        Measure(f"processor time at {fps} fps", Spread.of(ratios), 1.15, "most"),
        Measure(f"messages at {fps} fps", Spread.of(told), DISPLAYS * 0.98, "least"),
        # A machine that drops frames saves time on them: without all of them nothing is proven.
        Measure(f"frames analysed at {fps} fps", Spread.of(frames), DISPLAYS * 0.95, "least"),
    ]


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    repeats: Annotated[int, typer.Option(help="Windows of each side at the shipped rate")] = 3,
    folder: Annotated[Path, typer.Option(help="The worker's data folder")] = rig.DATA,
) -> None:
    """Measure, print and keep."""
    every: list[Measure] = []
    figures: dict[str, Any] = {"window_sec": WINDOW_SEC, "displays": DISPLAYS}
    for fps, times in (("2", repeats), ("10", max(1, repeats // 3))):
        found = compare(fps, times, folder)
        every += measures(fps, found)
        figures[f"{fps} fps"] = [{"one": one.as_dict(), "ten": ten.as_dict()} for one, ten in found]
    finish(Row("displays", 5, "ten displays on one camera", "one display", every, figures), as_json=as_json)


if __name__ == "__main__":
    typer.run(main)
