"""`python -m siwatsystem`, installed as `siwat`: dispatches to `siwatsystem.commands`."""

import sys
from pathlib import Path
from typing import Annotated

from siwatsystem import __version__, interrupts

if __name__ == "__main__" or Path(sys.argv[0]).stem == "siwat":
    # Before what takes a second to import; not where a program imports this module.
    interrupts.begin()

import typer

from siwatsystem.commands import (
    analyze,
    camera,
    check,
    control,
    demo,
    documents,
    mpta,
    outbox,
    redis,
    run,
    serve,
)

app = typer.Typer(
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"siwat {__version__}")
        raise typer.Exit


@app.callback()
def _about(
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Detector worker: a backend's cameras through detection and classification pipelines."""
    interrupts.started()


@app.command("serve")
def _serve() -> None:
    """Run the worker (settings: config.json and SIWAT_* variables)."""
    serve.serve()


@app.command("control")
def _control() -> None:
    """Run the control server (settings: section `control`)."""
    control.control()


app.command("demo", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(demo.demo)
app.command("docs")(documents.write)
app.command("check")(check.check)
app.add_typer(mpta.app, name="mpta")
app.add_typer(outbox.app, name="outbox")
app.add_typer(redis.app, name="redis")
app.add_typer(camera.app, name="camera")
app.command("run")(run.run)
app.command("analyze")(analyze.analyze)


def main() -> None:
    """The installed command; completion is made for its name, also where `python -m` started it."""
    app(prog_name="siwat")


if __name__ == "__main__":
    main()
