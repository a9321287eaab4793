"""`siwat mpta pack`: a folder as an archive, the same bytes every time."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from siwatsystem import packing
from siwatsystem.archive import SIGNATURE
from siwatsystem.commands import console
from siwatsystem.commands.mpta_validate import show
from siwatsystem.validation import examined


def pack(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Holds pipeline.json.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="Default: beside the folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an archive that is there.")] = False,
) -> None:
    """Make an archive of a folder, if a worker would take it. The same files give the same bytes."""
    place = folder.resolve()
    target = output or place.with_name(place.name + packing.SUFFIX)
    if target.exists() and not force:
        console.leave(f"{target} is there already: --force replaces it", 2)
    if (folder / SIGNATURE).exists():
        console.leave(f"{folder}: {SIGNATURE} is an earlier archive's: delete it, and sign the new one", 2)
    with console.told(), examined(folder, console.limits()) as found:
        if not found.valid:
            show(found, err=True)
            raise typer.Exit(1)
        for warning in found.warnings:
            typer.echo(f"warning  {warning}", err=True)
        for name in found.left_out:
            typer.echo(f"left out {name}", err=True)
        packing.pack(folder, target, console.limits())
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    typer.echo(f"{target}  {target.stat().st_size} bytes  sha256 {digest}")
