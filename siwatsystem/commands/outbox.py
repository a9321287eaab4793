"""`siwat outbox …`: what waits for the servers of actions, to look at, try again or drop."""

import json
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from siwatsystem.actions.asking import ask
from siwatsystem.actions.reading import OutboxFile, Sums, opened
from siwatsystem.actions.registry import KINDS
from siwatsystem.actions.selection import Answer, Request, Selection, State
from siwatsystem.commands import console
from siwatsystem.commands.outbox_print import print_job, print_rows, size_words
from siwatsystem.config import load_settings
from siwatsystem.errors import InvalidSetting

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="What waits for Redis, PostgreSQL, brokers and receivers: look at it, try it again, drop it; beside"
    " a worker too.",
)

File = Annotated[
    Path | None,
    typer.Option("--file", help="The outbox; else `outbox.sqlite` in the `data_dir` of the settings."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Server = Annotated[
    str | None, typer.Option(help="Only for servers with this in their name: `redis`, a host, a port.")
]
Kind = Annotated[str | None, typer.Option(help="Only actions of this kind, as `redis_save_image`.")]
Session = Annotated[str | None, typer.Option(help="Only actions of this session.")]
OlderThan = Annotated[
    str | None,
    typer.Option("--older-than", metavar="AGE", help="Only older ones: `90`, `90s`, `15m`, `2h`, `1d`."),
]
Failed = Annotated[bool, typer.Option("--failed", help="Only what was given up.")]
Waiting = Annotated[bool, typer.Option("--waiting", help="Only what waits.")]
Seqs = Annotated[list[int] | None, typer.Argument(metavar="[SEQ]...", help="Only these numbers of `list`.")]
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@app.command("list")
def show_all(
    server: Server = None,
    kind: Kind = None,
    session: Session = None,
    older_than: OlderThan = None,
    failed: Failed = False,
    waiting: Waiting = False,
    limit: Annotated[int, typer.Option(min=0, help="Show at most as many; 0: all.")] = 50,
    as_json: AsJson = False,
    file: File = None,
) -> None:
    """Show what waits and what was given up: server, kind, session, age, attempts, and why: what the
    server said last, or the action before it in its session, which goes first.

    Examples: `siwat outbox list --server redis --older-than 1h`, `siwat outbox list --failed --json`

    Exit status 0: shown, also where there is nothing; 1: there is no outbox, or it cannot be read; 2: wrong
    usage.
    """
    path = _path(file)
    with console.told(), opened(path) as found:
        chosen = _selection(found, None, server, kind, session, older_than, failed, waiting)
        rows, sums = found.rows(chosen, limit or -1), found.sums(chosen)
    if as_json:
        jobs = [asdict(row) for row in rows]
        told = {"file": str(path), **asdict(sums), "shown": len(jobs), "jobs": jobs}
        typer.echo(json.dumps(told, ensure_ascii=False, indent=1))
    else:
        print_rows(rows, sums, time.time())


@app.command("show")
def show_one(
    seq: Annotated[int, typer.Argument(help="Its number in `list`.")],
    save: Annotated[Path | None, typer.Option("--save", help="Write its picture to this file.")] = None,
    as_json: AsJson = False,
    file: File = None,
) -> None:
    """Show one action: where it goes, what it says, why it waits; or save its picture.

    Examples: `siwat outbox show 117`, `siwat outbox show 117 --save car.jpg`

    Exit status 0: shown; 1: there is no such action, or no picture to save.
    """
    with console.told():
        with opened(_path(file)) as found:
            rows = found.rows(Selection(seqs=(seq,)))
            payload, blob = found.payload(seq), found.blob(seq)
        if not rows or payload is None:
            console.leave(f"there is no action {seq} in the outbox", 1)
        if save is not None:
            if blob is None:
                console.leave(f"action {seq} has no picture", 1)
            save.write_bytes(blob)
    picture = None if blob is None else len(blob)
    if as_json:
        shown = {**asdict(rows[0]), "payload": payload, "picture_bytes": picture}
        typer.echo(json.dumps(shown, ensure_ascii=False, indent=1))
    else:
        print_job(rows[0], payload, picture, time.time())


@app.command("retry")
def retry(
    seqs: Seqs = None,
    server: Server = None,
    kind: Kind = None,
    session: Session = None,
    older_than: OlderThan = None,
    failed: Failed = False,
    waiting: Waiting = False,
    as_json: AsJson = False,
    file: File = None,
) -> None:
    """Try again at once what waits for its next attempt, and what was given up; without filters all of it.

    What was given up goes back to its place in its session, behind the action that is under way.

    Examples: `siwat outbox retry --failed`, `siwat outbox retry 117 118`

    Exit status 0: done, or nothing fits; 1: a number that is not there or does not fit the options,
    or the worker does not answer.
    """
    path = _path(file)
    with console.told():
        with opened(path) as found:
            chosen = _selection(found, seqs, server, kind, session, older_than, failed, waiting)
            missing = _missing(found, chosen)
        answer, running = _ask(path, "retry", chosen)
    left = (
        f"; {answer.left} cannot be tried again (picture or server not known any more)" if answer.left else ""
    )
    when = "tried again" if running else "tried as soon as a worker starts: none has this outbox in use"
    words = f"{answer.waiting} waiting and {answer.failed} failed are {when}{left}"
    _tell(answer, running, words, as_json)
    _leave_missing(missing, seqs, answer)


@app.command("drop")
def drop(
    seqs: Seqs = None,
    server: Server = None,
    kind: Kind = None,
    session: Session = None,
    older_than: OlderThan = None,
    failed: Failed = False,
    waiting: Waiting = False,
    everything: Annotated[bool, typer.Option("--all", help="Drop all that there is.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
    file: File = None,
) -> None:
    """Throw away actions that wait or were given up. They will never be done.

    One that is under way at that moment may still arrive.

    Examples: `siwat outbox drop --failed`, `siwat outbox drop --kind redis_save_image --older-than 2h --yes`

    Exit status 0: done, or nothing fits; 1: not confirmed, a number that is not there or does not fit the
    options, or the worker does not answer; 2: neither a filter nor `--all`.
    """
    if not (seqs or server or kind or session or older_than or failed or waiting or everything):
        console.leave("say what to drop: numbers, a filter, or --all", 2)
    path = _path(file)
    with console.told():
        with opened(path) as found:
            chosen = _selection(found, seqs, server, kind, session, older_than, failed, waiting)
            sums = found.sums(chosen)
            missing = _missing(found, chosen)
        if sums.waiting + sums.failed and not yes:
            _confirm(f"Drop {_words(sums)}?")
        answer, running = _ask(path, "drop", chosen)
    _tell(answer, running, f"{answer.waiting} waiting and {answer.failed} failed were dropped", as_json)
    _leave_missing(missing, seqs, answer)


def _path(file: Path | None) -> Path:
    try:
        return file or load_settings().data_dir / "outbox.sqlite"
    except InvalidSetting as error:
        console.leave(error.message, 2)


def _selection(
    found: OutboxFile,
    seqs: list[int] | None,
    server: str | None,
    kind: str | None,
    session: str | None,
    older_than: str | None,
    failed: bool,
    waiting: bool,
) -> Selection:
    if failed and waiting:
        console.leave("--failed and --waiting exclude each other", 2)
    if kind is not None and kind not in KINDS:
        console.leave(f"--kind {kind}: one of {', '.join(KINDS)}", 2)
    targets = None
    if server is not None:
        targets = tuple(
            key for key, place in found.servers.items() if server in (key, place) or server in place
        )
        if not targets:
            known = ", ".join(sorted(set(found.servers.values()))) or "none"
            console.leave(f"--server {server}: nothing goes there; servers: {known}", 2)
    state: State | None = "failed" if failed else "waiting" if waiting else None
    before = None if older_than is None else time.time() - _seconds(older_than)
    return Selection(tuple(seqs) if seqs else None, targets, kind, session, before, state)


def _seconds(age: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", age)
    if match is None:
        console.leave(f"--older-than {age}: a number with s, m, h or d, as 15m", 2)
    return float(match[1]) * UNITS[match[2]]


def _ask(path: Path, do: Literal["retry", "drop"], chosen: Selection) -> tuple[Answer, bool]:
    answer, running = ask(path, Request(do, chosen))
    if answer.error is not None:
        console.leave(f"the worker refused it: {answer.error}", 1)
    return answer, running


def _confirm(question: str) -> None:
    """Leave unless somebody agrees; in a script nobody is there to be asked."""
    try:
        typer.confirm(question, abort=True, err=True)
    except typer.Abort:
        console.leave("nothing was dropped; --yes drops without asking", 1)


def _words(sums: Sums) -> str:
    return f"{sums.waiting} waiting and {sums.failed} failed ({size_words(sums.size)})"


def _tell(answer: Answer, running: bool, words: str, as_json: bool) -> None:
    typer.echo(json.dumps({**asdict(answer), "running": running}) if as_json else words)


def _missing(found: OutboxFile, chosen: Selection) -> str | None:
    """What is said of the numbers that were given and that nothing fits. Ends the command where nothing fits
    any of them."""
    if chosen.seqs is None:
        return None
    asked = set(chosen.seqs)
    there, fit = ({row.seq for row in found.rows(one)} for one in (Selection(seqs=chosen.seqs), chosen))
    said = "; ".join(
        f"{words}: {', '.join(map(str, sorted(seqs)))}"
        for words, seqs in (
            ("there is no such action in the outbox", asked - there),
            ("in the outbox, but not what the options ask for", there - fit),
        )
        if seqs
    )
    if not fit:
        console.leave(said, 1)
    return said or None


def _leave_missing(missing: str | None, seqs: list[int] | None, answer: Answer) -> None:
    if missing is not None:
        console.leave(missing, 1)
    if seqs and answer.waiting + answer.failed < len(set(seqs)):
        raise typer.Exit(1)
