"""`siwat run`: an archive over a file, a folder, a camera or a webcam, to see what it does."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from siwatsystem.commands import console
from siwatsystem.config import PrecisionSetting

Archive = Annotated[Path, typer.Argument(help="An .mpta, a folder with pipeline.json, or weights.")]
Source = Annotated[
    str, typer.Option("--source", "-s", help="A file, a folder, a camera's URL, or a webcam's index.")
]


def run(
    archive: Archive,
    source: Source = "0",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for video, lines, summary and plots.")
    ] = None,
    classes: Annotated[str, typer.Option(help="Of bare weights: the classes to keep, as Car,Truck.")] = "",
    fps: Annotated[float | None, typer.Option(help="Frames analysed per second of the source.")] = None,
    every: Annotated[int | None, typer.Option(help="Analyse every N-th frame.")] = None,
    limit: Annotated[float | None, typer.Option(help="Seconds of the source after which to end.")] = None,
    stop_on: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="End when this class is seen; may be repeated.")
    ] = None,
    video: Annotated[bool, typer.Option(help="Write an annotated video to the output folder.")] = True,
    show: Annotated[bool, typer.Option("--show", help="Show it in a window; q quits.")] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="Print which node ran on each frame, and why.")
    ] = False,
    actions: Annotated[
        Literal["print", "none", "do"],
        typer.Option(help="Print what would be saved, published and written, leave it out, or do it."),
    ] = "print",
    precision: Annotated[
        PrecisionSetting | None, typer.Option(help="exact (default for files), fast or auto.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    display: Annotated[str, typer.Option(help="Display identifier for the actions.")] = "unknown",
    session: Annotated[str | None, typer.Option(help="Session id for the actions.")] = None,
    snapshot: Annotated[
        int | None, typer.Option(metavar="MS", help="The URL gives single pictures: fetch one every MS.")
    ] = None,
) -> None:
    """Run a pipeline over a source and show what it sees.

    Exit status 0; 1 where the archive or the source could not be used, or only in part (with all
    that could be read done), and where actions wait or were given up; 2: wrong usage.
    """
    if fps is not None and every is not None:
        console.leave("--fps and --every exclude each other", 2)
    for name, value in (("--fps", fps), ("--every", every), ("--limit", limit), ("--snapshot", snapshot)):
        if value is not None and not 0 < value < float("inf"):
            console.leave(f"{name} {value:g}: must be above 0", 2)
    # OpenCV has a lot to say about a webcam that is not there.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    # Decoders and runtimes are loaded by whoever runs something, not by every command.
    from siwatsystem.analysis.run import Plan
    from siwatsystem.commands.run_wiring import Wanted, execute

    plan = Plan(output, video, frozenset(stop_on or ()), limit, show)
    names = tuple(name for one in classes.split(",") if (name := one.strip()))
    asked = Wanted(
        *(archive, source, plan, names, fps, every, trace, actions),
        *(precision, as_json, display, session, snapshot),
    )
    with console.told():
        status = execute(asked)
    raise typer.Exit(status)
