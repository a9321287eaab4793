"""Every parser at full length, then the protocol and the HTTP routes.

    python -m tests.fuzz [--inputs N] [--only NAME …] [--first SEED]

`protocol` and `http` are names too; they play a two-hundredth of the inputs.

Inputs are numbered, and a number always stands for the same one: what fails is written to
`tests/fuzz/fixtures`, where the tests find it, and shown with its number. Status 1 where anything failed.
"""

import logging
import os
import sys
import tempfile
import time
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz import archives
from tests.fuzz.control_site import control_site
from tests.fuzz.http import play as play_routes
from tests.fuzz.protocol import ProtocolMachine
from tests.fuzz.site import site
from tests.fuzz.target import FIXTURES, Played, Target, input_of, play, to_file
from tests.fuzz.targets import TARGETS

PIECE = 2500
"""Inputs that a process plays at a time."""


def main(
    inputs: Annotated[int, typer.Option(min=1, help="For each parser")] = 100_000,
    only: Annotated[list[str] | None, typer.Option(help="Names of parsers; all of them")] = None,
    first: Annotated[int, typer.Option(help="Number of the first input")] = 0,
) -> None:
    """Play and tell."""
    logging.disable(logging.CRITICAL)
    failed = False
    with ProcessPoolExecutor(min(4, os.cpu_count() or 1), initializer=_quiet) as processes:
        for name in [name for name in only or TARGETS if name in TARGETS]:
            pieces = [
                processes.submit(_piece, name, min(PIECE, inputs - done), first + done)
                for done in range(0, inputs, PIECE)
            ]
            failed |= not _told(TARGETS[name], [piece.result() for piece in pieces])
    for name, whole in (("protocol", _protocol), ("http", _http)):
        if name in (only or (name,)):
            began = time.monotonic()
            try:
                whole(max(20, inputs // 200))
            except BaseException:
                traceback.print_exc()
                failed = True
            print(f"{name}: {max(20, inputs // 200)} rounds in {time.monotonic() - began:.0f} s", flush=True)
    sys.exit(failed)


def _protocol(rounds: int) -> None:
    run_state_machine_as_test(
        ProtocolMachine,
        settings=settings(
            max_examples=rounds,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def _http(rounds: int) -> None:
    for server in (site, control_site):
        with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as running:
            for (path, status), count in sorted(play_routes(running, rounds, derandomize=False).items()):
                print(f"  {path} {status}: {count}", flush=True)


def _quiet() -> None:
    warnings.simplefilter("ignore")
    os.nice(5)


def _piece(name: str, count: int, first: int) -> Played:
    try:
        return play(TARGETS[name], count, first)
    finally:
        archives.clean()


def _told(target: Target, pieces: list[Played]) -> bool:
    """Print one line, and keep what failed. Whether all is well."""
    count, accepted = sum(one.count for one in pieces), sum(one.accepted for one in pieces)
    failures = [failure for one in pieces for failure in one.failures]
    share, slowest = accepted / count, max(one.slowest for one in pieces)
    seconds = sum(one.seconds for one in pieces)
    line = f"{target.name}: {count} inputs in {seconds:.0f} s of one process, {share:.0%} accepted"
    print(f"{line}, slowest {slowest:.2f} s, {len(failures)} failures", flush=True)
    for seed, reason in failures[:10]:
        suffix, data = to_file(input_of(target, seed))
        path = FIXTURES / f"{target.name}-{seed}{suffix}"
        path.write_bytes(data)
        print(f"  {seed}: {reason} ({path.name})", flush=True)
    if share < target.share:
        print(f"  fewer accepted than {target.share:.0%}: what is refused at the door shows nothing")
    return not failures and share >= target.share


if __name__ == "__main__":
    typer.run(main)
