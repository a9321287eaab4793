"""All rows of the performance goals, one after the other, and the documents' tables made of them.

    python -m bench [NAME …]

A bench that fails is named at the end and the others go on; a goal that is missed is no failure, it
is written down as such. Nothing else should run on the machine meanwhile: about a quarter of an hour.
"""

import contextlib
import signal
import subprocess
import sys
import time
from typing import Annotated

import typer

ROWS = (
    "pipeline",
    "limit",
    "cameras",
    "decoding",
    "displays",
    "age",
    "images",
    "memory",
    "start",
    "growth",
    "subscriptions",
    "analyze",
    "control",
    "dashboard",
    "stages",
)
LONGEST_SEC = 400
ENDING_SEC = 30


def run(name: str) -> bool:
    """One bench as a process of its own, which prints what it measured. Whether it came to an end."""
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", f"bench.{name}"])
    try:
        status = child.wait(LONGEST_SEC)
    except subprocess.TimeoutExpired:
        print(f"{name}: ended after {LONGEST_SEC} s", flush=True)
        child.send_signal(signal.SIGINT)  # so that it ends what it has started
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(ENDING_SEC)
        child.kill()
        return False
    print(f"   ({time.monotonic() - began:.0f} s)", flush=True)
    return status == 0


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Some of {', '.join(ROWS)}; all of them")] = None,
) -> None:
    """Run them."""
    chosen = names or list(ROWS)
    unknown = [name for name in chosen if name not in ROWS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: no bench; there are {', '.join(ROWS)}")
    failed = [name for name in chosen if not run(name)]
    subprocess.run([sys.executable, "-m", "bench.table"], check=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
