"""`siwat mpta inspect`: what an archive is and what it will do."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from siwatsystem.archive import TESTS
from siwatsystem.commands import console
from siwatsystem.commands.mpta_validate import Source
from siwatsystem.inspection import Inspection, Model, Part, Write, inspect
from siwatsystem.validation import examined

if TYPE_CHECKING:
    from rich.tree import Tree

SHORT_DIGEST = 12
CLASSES = 20


def show(
    source: Source, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show an archive: its nodes, models and classes, what each action will write, what lies along.

    Exit status 0: shown, 1: something is wrong with it (it is shown as far as possible).
    """
    with console.told(), examined(source, console.limits()) as found:
        shown = inspect(found)
    if as_json:
        typer.echo(json.dumps(asdict(shown), ensure_ascii=False, indent=1))
    else:
        _print(shown)
    if shown.problems:
        raise typer.Exit(1)


def _print(shown: Inspection) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = console.PIPED_WIDTH
    size = "" if shown.size is None else f"  {_size(shown.size)}  sha256 {shown.sha256}"
    tree = Tree(Text(f"{shown.source}{size}", style="bold"))
    if shown.signature is not None:
        tree.add(Text(shown.signature))
    for place in shown.servers.values():
        tree.add(Text(f"server: {place}"))
    if shown.root is not None:
        _add(tree, shown.root)
    if shown.others:
        along = tree.add(Text("other files"))
        for entry in shown.others:
            taken = "" if entry.name.startswith(f"{TESTS}/") else "  (stays in the archive)"
            along.add(Text(f"{entry.name}  {_size(entry.size)}{taken}", style="dim"))
    for name in shown.left_out:
        tree.add(Text(f"not packed: {name}", style="dim"))
    for warning in shown.warnings:
        tree.add(Text(f"warning: {warning}", style="yellow"))
    for problem in shown.problems:
        tree.add(Text(f"mistake: {problem}", style="red"))
    out.print(tree)


def _add(tree: "Tree", part: Part) -> None:
    from rich.text import Text

    node = tree.add(Text(part.model_id, style="bold cyan"))
    node.add(Text(part.runs))
    for line in _model_lines(part.model):
        node.add(Text(line, style="red" if part.model.trouble else ""))
    if part.gives:
        node.add(Text(f"gives {part.gives}"))
    if part.tracking is not None:
        node.add(Text(f"tracking: {part.tracking}"))
    for write in part.writes:
        below = node.add(Text(_write_line(write), style="green"))
        for name, value in write.values.items():
            below.add(Text(f"{name} = {value}"))
        if write.detail:
            below.add(Text(write.detail))
    for branch in part.branches:
        _add(node, branch)


def _model_lines(model: Model) -> list[str]:
    size = "" if model.size is None else f"  {_size(model.size)}  sha256 {str(model.sha256)[:SHORT_DIGEST]}…"
    if model.trouble is not None:
        return [f"{model.file}{size}", f"cannot be loaded: {model.trouble}"]
    height, width = model.input_size or (0, 0)
    more = f" and {len(model.classes) - CLASSES} more" if len(model.classes) > CLASSES else ""
    return [
        f"{model.file}{size}  {model.task} {width}×{height}",
        f"classes: {', '.join(model.classes[:CLASSES])}{more}",
    ]


def _write_line(write: Write) -> str:
    verb = {
        "redis_save_image": "saves an image under",
        "redis_publish": "publishes on",
        "mqtt_publish": "publishes over MQTT on",
        "kafka_publish": "sends to the Kafka topic",
        "webhook": "posts to",
        "postgresql_update_combined": "writes the record of",
        "initial_record": "makes a record in",
    }[write.kind]
    after = f", after {', '.join(write.after)}" if write.after else ""
    return f"{verb} {write.to}{after}"


def _size(number: int) -> str:
    if number < 1000:
        return f"{number} bytes"
    return f"{number / 1e6:.1f} MB" if number >= 100_000 else f"{number / 1e3:.1f} kB"
