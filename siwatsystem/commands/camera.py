"""`siwat camera …`: find cameras, look what they send, play one."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

import typer

from siwatsystem.cameras.report import CameraReport, advice
from siwatsystem.commands import camera_serve, console
from siwatsystem.config import Settings, load_settings
from siwatsystem.errors import InvalidSetting, StreamError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Find cameras, look what they send, play one for a backend to try.",
)
app.command("serve")(camera_serve.serve)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_devices(as_json: AsJson = False) -> None:
    """List this machine's cameras: index, size, rate, backend, name. Opens 0 to 9, each for a moment.

    Exit status 0: listed, also where there is none.
    """
    from siwatsystem.cameras.devices import devices

    found = devices()
    if as_json:
        typer.echo(json.dumps([asdict(device) for device in found], ensure_ascii=False, indent=1))
        return
    for device in found:
        rate = f"{device.fps:g} fps" if device.fps else "rate unknown"
        state = "" if device.delivers else "\tdelivers nothing: another program may hold it"
        cells = (
            str(device.index),
            f"{device.width}×{device.height}",
            rate,
            device.backend,
            device.name or "–",
        )
        typer.echo("	".join(cells) + state)
    if not found:
        typer.echo("no camera opens at the indexes 0 to 9")


@app.command("check")
def check(
    url: Annotated[str, typer.Argument(help="As in `rtspUrl` or `snapshotUrl`, or the index of a webcam.")],
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="How long to watch.")] = 10,
    snapshot_ms: Annotated[
        int | None,
        typer.Option("--snapshot", min=20, help="Single pictures: fetch so often."),
    ] = None,
    target_fps: Annotated[
        float | None, typer.Option(min=0.01, help="Frames analysed a second; else the setting's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Open a camera as the worker does, and say what it sends and what to change on it.

    Codec, size, rate, keyframe interval, bit rate, time to the first picture, jitter, damage, and the
    processor time that reading it costs. The settings' rules for addresses hold (`streams`).

    Examples: `siwat camera check rtsp://user:password@10.0.0.5/stream1`,
    `siwat camera check http://10.0.0.6/snapshot.jpg --snapshot 500`

    Exit status 0: pictures came; 1: none did, or no more, and why; 2: wrong usage.
    """
    from siwatsystem.cameras.measuring import measure

    settings = _settings()
    try:
        report = measure(
            url, settings.streams, seconds=seconds, snapshot_ms=snapshot_ms, progress=_progress(seconds)
        )
    except StreamError as error:
        web = snapshot_ms is None and url.startswith(("http://", "https://"))
        words = f"{error.message}; if it gives single pictures, add --snapshot 500" if web else error.message
        if as_json:
            typer.echo(json.dumps({"error": words, "code": error.code}, ensure_ascii=False))
        console.leave(words, 1)
    told = advice(report, target_fps or 1 / settings.analysis_interval_sec)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "advice": told}, ensure_ascii=False, indent=1))
        raise typer.Exit(0 if report.ended is None else 1)
    for name, value in _facts(report):
        typer.echo(f"{name:<22}{value}")
    typer.echo("")
    for words in told or ["nothing to change"]:
        typer.echo(f"- {words}")
    if report.ended is not None:
        raise typer.Exit(1)


def _settings() -> Settings:
    try:
        return load_settings()
    except InvalidSetting as error:
        console.leave(error.message, 2)


def _progress(seconds: float) -> Callable[[float], None]:
    """A line on stderr that is written over; nothing where nobody looks."""

    def show(passed: float) -> None:
        if sys.stderr.isatty():
            end = "\n" if passed >= seconds else ""
            print(f"\rwatching {min(passed, seconds):.0f} of {seconds:.0f} s", end=end, file=sys.stderr)

    return show


def _facts(report: CameraReport) -> list[tuple[str, str]]:
    named = f"{report.codec} {report.profile or ''}".strip() if report.codec else "single pictures"
    declared = f" (it says {report.declared_fps:g})" if report.declared_fps else ""
    facts = [
        ("camera", report.address),
        ("codec", named),
        ("size", f"{report.width} × {report.height}"),
        ("frames a second", f"{report.fps:g}{declared}"),
        ("described after", f"{report.opened_sec:.2f} s"),
        ("first picture after", f"{report.first_frame_sec:.2f} s"),
    ]
    if report.codec is not None:
        keys = "fewer than two came" if report.keyframe_sec is None else f"{report.keyframe_sec:g} s"
        facts.append(("keyframe every", keys))
        facts.append(("B-frames", "yes" if report.reordered else "no"))
    if report.mbit_per_sec is not None:
        facts.append(("bit rate", f"{report.mbit_per_sec:.2f} Mbit/s"))
    if report.jitter_ms is not None:
        facts.append(("jitter (95 %)", f"{report.jitter_ms:.0f} ms"))
    return [
        *facts,
        ("damaged", str(report.damaged)),
        ("processor time", f"{report.cpu_ms_per_frame:.1f} ms a frame"),
        ("watched", f"{report.watched_sec:.0f} s, {report.frames} frames"),
    ]
