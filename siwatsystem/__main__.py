"""`python -m siwatsystem`, installed as `siwat`: dispatches to `siwatsystem.commands`."""

import typer

from siwatsystem.commands import analyze, control, demo, documents, mpta, outbox, run, serve

app = typer.Typer(
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)


@app.callback()
def _about() -> None:
    """Detector worker: a backend's cameras through detection and classification pipelines."""


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
app.add_typer(mpta.app, name="mpta")
app.add_typer(outbox.app, name="outbox")
app.command("run")(run.run)
app.command("analyze")(analyze.analyze)


def main() -> None:
    """The installed command."""
    app()


if __name__ == "__main__":
    main()
