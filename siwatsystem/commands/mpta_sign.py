"""`siwat mpta keygen`, `sign`, `verify`: who vouches for an archive."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from siwatsystem import archive, packing, signatures
from siwatsystem.commands import console
from siwatsystem.config import ModelSettings
from siwatsystem.signing_keys import PUBLIC_SUFFIX, PrivateKey, PublicKey, read_public, shown

Archive = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="An archive (.mpta).")]
Keys = Annotated[
    list[str] | None,
    typer.Option("--key", help="Public key (base64, or a file) that is trusted; may be given repeatedly."),
]


def keygen(
    out: Annotated[
        Path, typer.Option("--out", "-o", dir_okay=False, help="The private key; the public one gets .pub.")
    ] = Path("key"),
) -> None:
    """Make a pair of keys: keep the private one, and give the public one to whoever runs workers."""
    key = PrivateKey.new()
    public = out.with_name(out.name + PUBLIC_SUFFIX)
    for path in (out, public):
        if path.exists():
            console.leave(f"{path} is there already; no key is ever replaced", 2)
    with console.told():
        key.save(out)
        public.write_text(key.public.pem, encoding="ascii")
    typer.echo(f"private key  {out}  (whoever has it signs in your name)")
    typer.echo(f"public key   {public}  {key.public.fingerprint}")
    typer.echo(f'as a setting: models.trusted_keys = ["{key.public.base64}"]')


def sign(
    source: Archive,
    key: Annotated[Path, typer.Option("--key", exists=True, dir_okay=False, help="Private key (PEM).")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="Default: the archive itself.")
    ] = None,
) -> None:
    """Sign an archive. The same archive and key give the same bytes."""
    if source.suffix.lower() in archive.BARE_SUFFIXES:
        console.leave(f"{source}: a bare model file cannot be signed; pack it as an archive", 2)
    try:
        private = PrivateKey.load(key)
    except (ValueError, OSError) as error:
        console.leave(str(error), 2)
    limits = console.limits()
    with console.told(), tempfile.TemporaryDirectory(prefix="mpta-") as temporary:
        folder = archive.extract(source, Path(temporary) / "archive", limits, whole=True)
        left_out = _sign(folder, output or source, private, limits)
    for name in left_out:
        typer.echo(f"left out {name}", err=True)
    typer.echo(f"{output or source}: signed by {private.public.fingerprint}")


def verify(source: Archive, keys: Keys = None) -> None:
    """Check an archive's signature. Exit status 0: it holds (and is by one of the keys), 1: not."""
    trusted = set[PublicKey]()
    for value in keys or ():
        try:
            trusted.add(read_public(value))
        except ValueError as error:
            console.leave(f"--key {shown(value)}: {error}", 2)
    with console.told(), tempfile.TemporaryDirectory(prefix="mpta-") as temporary:
        folder = archive.extract(source, Path(temporary) / "archive", console.limits())
        found = signatures.state(folder)
    if found.kind != "signed":
        console.leave(f"{source}: {found}", 1)
    if trusted and found.key not in trusted:
        console.leave(f"{source}: {found}, which is none of the given keys", 1)
    typer.echo(f"{source}: {found}{'' if trusted else '; whether that key is to be trusted, --key tells'}")


def _sign(folder: Path, target: Path, key: PrivateKey, limits: ModelSettings) -> tuple[str, ...]:
    """Sign and pack; returns the names of what does not belong into an archive."""
    (folder / archive.SIGNATURE).unlink(missing_ok=True)
    found = packing.contents(folder, limits)
    signatures.sign(folder, found.files, key)
    packing.pack(folder, target, limits)
    return found.left_out
