"""`siwat mpta validate`: every mistake of an archive or folder at once."""

import json
from pathlib import Path
from typing import Annotated

import typer

from siwatsystem.commands import console
from siwatsystem.validation import Examination, as_json, examined

Source = Annotated[Path, typer.Argument(exists=True, help="An archive, a folder, or a bare model file.")]


def validate(
    source: Source,
    as_json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as mistakes.")] = False,
) -> None:
    """Tell everything that is wrong with an archive. Exit status 0: valid, 1: not, 2: wrong usage."""
    with console.told(), examined(source, console.limits()) as found:
        if as_json_:
            typer.echo(json.dumps(as_json(found), ensure_ascii=False, indent=1))
        else:
            show(found)
    if strict and found.valid and found.warnings:
        console.leave("with --strict a warning is a mistake", 1)
    if found.problems:
        raise typer.Exit(1)


def show(found: Examination, err: bool = False) -> None:
    """One line for each mistake and warning, a mistake's hint below it; then how many there are."""
    for problem in found.problems:
        place = f"{problem.path}: " if problem.path else ""
        typer.secho("mistake  ", fg="red", nl=False, err=err)
        typer.echo(f"{place}{problem.message}", err=err)
        if problem.hint:
            typer.echo(f"         {problem.hint}", err=err)
    for warning in found.warnings:
        typer.secho("warning  ", fg="yellow", nl=False, err=err)
        typer.echo(warning, err=err)
    verdict = "valid" if found.valid else f"not valid, {_count(len(found.problems), 'mistake')}"
    warned = f", {_count(len(found.warnings), 'warning')}" if found.warnings else ""
    unseen = "; the models were not looked at" if found.folder is None else ""
    rest = "" if found.complete else "; more is looked at once these are mended"
    typer.echo(f"{found.source}: {verdict}{warned}{unseen}{rest}", err=err)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
