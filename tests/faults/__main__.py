"""Every promise at its full length, and the table of docs/reliability.md made of what was measured.

    python -m tests.faults [--only NAME …] [--short]

A promise that is not kept is shown as such, and the status is 1.
"""

import json
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Annotated

import typer

from tests.faults import page
from tests.faults.promise import Figure, Length, Promise
from tests.faults.promises import PROMISES

KEPT = Path(__file__).parent / "measured.json"


def play(promise: Promise, length: Length) -> tuple[list[Figure], str]:
    """What was measured, and why it could not be (else empty)."""
    with tempfile.TemporaryDirectory(prefix="siwat-fault-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the embedded servers' own user must get in
        try:
            return list(promise.play(Path(folder), length)), ""
        except Exception as error:
            traceback.print_exc()
            return [], f"{type(error).__name__}: {error}"


NAMES = [promise.name for promise in PROMISES]


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Some of {', '.join(NAMES)}")] = None,
    short: Annotated[
        bool,
        typer.Option("--short", help="As the tests do, with what they allow a busy machine; writes nothing"),
    ] = False,
) -> None:
    """Measure and write."""
    unknown = ", ".join(name for name in only or () if name not in NAMES)
    if unknown:
        raise typer.BadParameter(f"no promise is called {unknown}; there are {', '.join(NAMES)}")
    measured: dict[str, list[str]] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    broken: list[str] = []
    started = time.monotonic()
    for promise in PROMISES:
        if only and promise.name not in only:
            continue
        began = time.monotonic()
        figures, failure = play(promise, Length(short))
        kept = [figure.kept_here if short else figure.kept for figure in figures]
        if failure or not all(kept):
            broken.append(promise.name)
        pairs = zip(figures, kept, strict=True)
        told = [f"{figure}{'' if well else ' **broken**'}" for figure, well in pairs] or [failure]
        print(f"{promise.name}: {'; '.join(told)} ({time.monotonic() - began:.0f} s)", flush=True)
        measured[promise.name] = told
    print(f"all of it took {(time.monotonic() - started) / 60:.0f} min")
    if not short:
        KEPT.write_text(json.dumps(measured, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        page.write("faults", page.promises_table(PROMISES, measured))
    if broken:
        print(f"broken: {', '.join(broken)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
