"""Results a second on four paced cameras, beside what else there is for it.

    python -m bench.peers [--json] [--repeats 3] [--seconds 5]

The cameras, the detector, the input size and the precision (f32 everywhere, *exact* with us)
are those of `bench.cameras`; every side has the cameras in turn. Beside us are ultralytics on many
streams (`bench.peers_ultralytics`), Roboflow's InferencePipeline with the same weights as ONNX
(`bench.peers_roboflow`, left out where its environment is not there) and threads of OpenCV with torch
(`bench.peers_opencv`). No goal was set: 1 is even.
"""

import statistics
import sys
from contextlib import ExitStack
from typing import Annotated

import typer

from bench.cameras import SATURATED_FPS, Ours, comparable, ours, saturation, sources, weights
from bench.peers_counting import ratios
from bench.peers_process import FOLDER, ROOT, Peer, peer, prepare
from bench.record import Measure, Row, Spread, finish

PEERS_PYTHON = ROOT / ".demo" / "peers-venv" / "bin" / "python"


def onnx() -> str:
    """The detector as ONNX, written by ultralytics' exporter."""
    file = str(FOLDER / "detector.onnx")
    prepare("onnx", str(weights()), file)
    return file


def measure(repeats: int, seconds: float) -> Row:
    with ExitStack() as stack:
        cameras = stack.enter_context(sources())
        model = str(weights())
        sides: dict[str, Ours | Peer] = {"ours": stack.enter_context(ours(SATURATED_FPS, "exact"))}
        sides["ultralytics"] = stack.enter_context(peer("peers_ultralytics", model, "--precision", "f32"))
        sides["opencv_torch"] = stack.enter_context(peer("peers_opencv", model))
        if PEERS_PYTHON.exists():
            sides["roboflow"] = stack.enter_context(peer("peers_roboflow", onnx(), python=PEERS_PYTHON))
        else:
            print("Roboflow's inference is left out: make bench-peers makes its environment", file=sys.stderr)
        windows = saturation(cameras, sides, repeats, seconds)
        for side in sides.values():
            comparable(side)
        about = {name: side.about for name, side in sides.items() if isinstance(side, Peer)}
    return Row(
        "peers",
        0,
        "four paced RTSP cameras (1080p25), results/s at saturation, detector alone, f32",
        "what else there is",
        [
            Measure(f"results/s, {name}", Spread.of(ratios(windows["ours"], theirs)), 1.0, "least")
            for name, theirs in windows.items()
            if name != "ours"
        ],
        {
            "peers": about,
            "results_per_sec": {
                name: round(statistics.median(one.rate for one in found), 2)
                for name, found in windows.items()
            },
            "windows": {name: [one.as_dict() for one in found] for name, found in windows.items()},
        },
    )


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    repeats: Annotated[int, typer.Option(help="Repetitions")] = 3,
    seconds: Annotated[float, typer.Option(help="Length of a window")] = 5.0,
) -> None:
    """Measure, keep the result and print it."""
    finish(measure(repeats, seconds), as_json=as_json)


if __name__ == "__main__":
    typer.run(main)
