"""`siwat mpta init`: a folder with models and a first pipeline.json, by questions or by options."""

import json
import shutil
import uuid
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from siwatsystem import drafting
from siwatsystem.archive import PIPELINE, SCHEMA
from siwatsystem.commands import console
from siwatsystem.commands.documents import pipeline_schema
from siwatsystem.commands.mpta_validate import show
from siwatsystem.drafting import Branch, Wishes
from siwatsystem.errors import ModelInvalid
from siwatsystem.runtime.digest import digest
from siwatsystem.runtime.facts import read_facts
from siwatsystem.validation import examined

Folder = Annotated[Path, typer.Argument(file_okay=False, help="Where to make it.")]
Detector = Annotated[Path | None, typer.Option(exists=True, help="The model of the root.")]
Trigger = Annotated[list[str] | None, typer.Option(help="A class of interest (may be repeated).")]
Branches = Annotated[
    list[str] | None, typer.Option(metavar="FILE:CLASS", help="A model for the crop of a class (repeatable).")
]
ObjectClass = Annotated[str | None, typer.Option("--object", help="One event per object of this class.")]
Redis = Annotated[
    str | None, typer.Option(help="embedded, none, or redis://[user:password@]host[:port][/db]")
]
Postgresql = Annotated[
    str | None, typer.Option(help="embedded, none, or postgresql://user[:password]@host[:port]/database")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: defaults for what no option says.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


def init(
    folder: Folder = Path(),
    detector: Detector = None,
    trigger: Trigger = None,
    branch: Branches = None,
    object_class: ObjectClass = None,
    redis: Redis = None,
    postgresql: Postgresql = None,
    yes: Yes = False,
    force: Force = False,
) -> None:
    """Make a folder that `siwat mpta pack` makes an archive of: models, and a pipeline.json that explains
    itself. Asks for what no option says, unless --yes is given."""
    asks = not yes
    if (folder / PIPELINE).exists() and not force:
        console.leave(f"{folder / PIPELINE} is there already: --force overwrites it", 2)
    with console.told():
        root = detector or _asked_file("Detection model (.pt, .onnx, OpenVINO folder)", asks)
        facts = read_facts(root)
        names = list(facts.names.values())
        wanted = _classes(trigger or (_asked_classes(names) if asks else names), names)
        pairs = _branches(branch, names) if branch or not asks else _asked_branches(names)
        one_each = _object_class(object_class, wanted, asks)
        files = _free_names([root, *(path for path, _ in pairs)])
        wishes = Wishes(
            file=files[root],
            facts=facts,
            trigger_classes=tuple(wanted),
            branches=tuple(Branch(files[path], read_facts(path), name) for path, name in pairs),
            object_class=one_each,
            redis=_server(redis, "Redis", asks),
            postgresql=_server(postgresql, "PostgreSQL", asks),
        )
        _write(folder, wishes, files, force)
        with examined(folder, console.limits()) as found:
            show(found)
    if found.valid:
        typer.echo(f"try it: siwat run {folder} --source CLIP    pack it: siwat mpta pack {folder}", err=True)
    raise typer.Exit(0 if found.valid else 1)


def _asked_file(question: str, asks: bool) -> Path:
    if not asks:
        console.leave("--detector is missing, and --yes asks nothing", 2)
    while True:
        path = Path(typer.prompt(question)).expanduser()
        if path.exists():
            return path
        typer.echo(f"{path} is not there")


def _asked_classes(names: list[str]) -> list[str]:
    typer.echo(f"Its classes: {', '.join(names)}")
    while True:
        text: str = typer.prompt(
            "Classes of interest, with commas between them", default=", ".join(names[:5])
        )
        wanted = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in wanted if _known(name, names) is None]
        if wanted and not unknown:
            return wanted
        typer.echo(f"no class of this model: {', '.join(unknown) or 'none was named'}")


def _asked_branches(names: list[str]) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    while text := typer.prompt("A model for crops (empty: no more)", default="", show_default=False):
        path = Path(text).expanduser()
        if not path.exists():
            typer.echo(f"{path} is not there")
            continue
        name = _known(typer.prompt(f"Class whose crop it looks at ({', '.join(names[:20])})"), names)
        if name is None:
            typer.echo("no class of the detection model")
        else:
            found.append((path, name))
    return found


def _branches(options: list[str] | None, names: list[str]) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    for text in options or ():
        file, colon, name = text.rpartition(":")
        if not colon or not Path(file).exists():
            console.leave(f"--branch {text}: must be FILE:CLASS with a file that is there", 2)
        found.append((Path(file), _classes([name], names)[0]))
    return found


def _object_class(option: str | None, wanted: list[str], asks: bool) -> str | None:
    if option is None and asks:
        question = f"One event per object of which class ({', '.join(wanted)}; empty: one event a picture)"
        option = typer.prompt(question, default="", show_default=False)
    return _classes([option], wanted)[0] if option else None


def _classes(asked: list[str], names: list[str]) -> list[str]:
    """The model's own spelling of each name. Ends the command for one that it does not have."""
    found: list[str] = []
    for name in asked:
        known = _known(name, names)
        if known is None:
            close = get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names[:20])}"
            console.leave(f"no class {name!r} here: {hint}", 2)
        found.append(known)
    return list(dict.fromkeys(found))


def _known(name: str, names: list[str]) -> str | None:
    exact = name if name in names else None
    return exact or next((one for one in names if one.casefold() == name.casefold()), None)


def _server(option: str | None, kind: str, asks: bool) -> Any:
    read = drafting.redis_server if kind == "Redis" else drafting.postgresql_server
    if option is None and not asks:
        option = "embedded"
    while True:
        text = option or typer.prompt(f"{kind}: embedded, none, or its address", default="embedded")
        try:
            return read(text)
        except ValueError as error:
            if option is not None:
                console.leave(f"--{kind.lower()}: {error}", 2)
            typer.echo(str(error))


def _free_names(models: list[Path]) -> dict[Path, str]:
    """Names of the models inside the archive, the same file once."""
    paths = list(dict.fromkeys(models))
    for path in paths:
        if path.suffix == ".xml":
            console.leave(f"{path}: name the folder of an OpenVINO model, not its .xml", 2)
    names = drafting.distinct_names([path.resolve().name for path in paths])
    return dict(zip(paths, names, strict=True))


def _write(folder: Path, wishes: Wishes, files: Mapping[Path, str], force: bool) -> None:
    """Models first, pipeline.json last: a folder that has one is complete."""
    for path, name in files.items():
        target = folder / name
        if target.exists() and not force and digest(target) != digest(path):
            console.leave(f"{target} is there already and is another model: --force overwrites it", 2)
    folder.mkdir(parents=True, exist_ok=True)
    for path, name in files.items():
        _copy(path.resolve(), folder / name)
    text = json.dumps(drafting.draft(wishes), ensure_ascii=False, indent=2) + "\n"
    for name, content in ((SCHEMA, pipeline_schema()), (PIPELINE, text)):
        temporary = folder / f".{name}-{uuid.uuid4().hex}"
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(folder / name)


def _copy(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    if source.is_dir():
        if target.resolve().is_relative_to(source):
            raise ModelInvalid(f"{target} lies inside the model {source}: choose a folder elsewhere")
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
