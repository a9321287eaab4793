"""`siwat check`: whether the worker at an address speaks the protocol."""

import socket
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console

from siwatsystem import interrupts, urls
from siwatsystem.commands import console

Address = Annotated[str, typer.Argument(help="The worker: ws://host:8000/", show_default=False)]
Token = Annotated[str | None, typer.Option(envvar="SIWAT_CONTROL_TOKEN", help="The worker's control token.")]
CameraHost = Annotated[
    str | None,
    typer.Option(help="Where the worker reaches this machine; else the address that leads to the worker."),
]
CameraPort = Annotated[int, typer.Option(min=0, max=65535, help="Their port; 0: a free one.")]
ModelUrl = Annotated[
    str | None, typer.Option(help="Another archive, for a worker that cannot run the check's own one.")
]
Only = Annotated[list[str] | None, typer.Option(help="Run only these: a check, a group, or a pattern.")]
Skip = Annotated[list[str] | None, typer.Option(help="Leave these out.")]
Grace = Annotated[
    float, typer.Option(min=0, help="Seconds for which the worker keeps what a lost connection subscribed.")
]
Patience = Annotated[float, typer.Option(min=1, help="Seconds for a camera and its archive to come online.")]
Slack = Annotated[float, typer.Option(min=1, help="Multiplies every other time limit, for slow machines.")]
Junit = Annotated[Path | None, typer.Option(dir_okay=False, help="Write JUnit XML there, for CI servers.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
List = Annotated[bool, typer.Option("--list", help="Only say which checks there are.")]


@interrupts.answered()
def check(
    url: Address = "ws://127.0.0.1:8000/",
    token: Token = None,
    camera_host: CameraHost = None,
    camera_port: CameraPort = 0,
    model_url: ModelUrl = None,
    only: Only = None,
    skip: Skip = None,
    grace: Grace = 30.0,
    patience: Patience = 120.0,
    slack: Slack = 1.0,
    junit: Junit = None,
    as_json: Json = False,
    list_only: List = False,
) -> None:
    """Check whether any worker, ours or not, speaks the protocol of worker.md.

    Runs cameras and an archive on this machine, which the worker must be able to reach, subscribes to them,
    and compares what it does with what the protocol promises. Status 0: it keeps all of it, 1: it does not,
    2: it could not be checked, 130 and 143: interrupted, with what was found so far.
    """
    from siwatsystem.client import ClientError, arguments
    from siwatsystem.commands.check_report import CheckReport
    from siwatsystem.conformance import report, running
    from siwatsystem.conformance.kit import Options

    try:
        checks = running.chosen(only or (), skip or ())
    except ValueError as error:
        console.leave(f"{error}; --list names them all", 2)
    if not checks:
        console.leave("--only and --skip leave no check", 2)
    if list_only:
        report.listing(Console(highlight=False), checks)
        return
    if not _is_address(url):
        console.leave(f"{urls.bare(url)}: an address like ws://host:8000/ is needed", 2)
    try:
        # From a file it often comes with its line end.
        token = arguments.secret((token or "").strip()) or None
    except ValueError as error:
        console.leave(str(error), 2)
    if junit is not None:
        _ready(junit)
    options = Options(patience=patience, grace=grace, slack=slack, model_url=model_url)
    found = CheckReport(url, checks, as_json=as_json, junit=junit)
    try:
        with interrupts.answered(found.interrupt):
            host = camera_host or _towards(url)
            settings: dict[str, Any] = {"token": token, "host": host, "port": camera_port}
            outcomes = running.run(url, checks, **settings, options=options, told=found.told)
            found.write(outcomes)
    except (ClientError, OSError) as error:
        console.leave(str(error), 2)
    found.show(outcomes)
    raise typer.Exit(1 if report.failed(outcomes) else 0)


def _ready(path: Path) -> None:
    """Find out before the checks, which take minutes, that nothing can be written there."""
    is_new = not path.exists()
    try:
        path.open("ab").close()
        if is_new:
            path.unlink()
    except OSError as error:
        console.leave(f"{path}: {error.strerror}", 2)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _towards(url: str) -> str:
    """This machine's address on the way to the worker; nothing is sent. Raises OSError."""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_DGRAM)
    except socket.gaierror as error:
        raise OSError(f"{urls.bare(url)}: {error.strerror}") from None
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])
