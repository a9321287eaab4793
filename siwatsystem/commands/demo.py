"""`siwat demo`: the worker on demo cameras. The cameras and clips are in the repo, not in the package."""

import importlib.util
import subprocess
import sys

import typer


def demo(context: typer.Context) -> None:
    """Start the demo (from a checkout of the repo); see `python -m demo --help` for its options."""
    if importlib.util.find_spec("demo") is None:
        typer.echo("siwat: the demo needs a checkout of the repo as the working directory", err=True)
        raise typer.Exit(2)
    command = [sys.executable, "-m", "demo", *context.args]
    status = subprocess.call(command)  # noqa: S603 # nosec B603 # what the user typed, without a shell
    raise typer.Exit(status)
