"""A parser that is played with: how inputs are made, and what must hold of each."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

Input = str | bytes
FIXTURES = Path(__file__).parent / "fixtures"


@dataclass(frozen=True, slots=True)
class Target:
    """One parser.

    `check` raises where it breaks its word (an error of another family, a file left behind, an answer
    that is no message), and returns whether it took the input. `share` is the least share of inputs that
    must be taken: inputs that are all refused at the door show nothing.
    """

    name: str
    make: Callable[[Random], Input]
    check: Callable[[Input], bool]
    share: float = 0.1
    slow_sec: float = 2.0
    """Processor time that no input may take; allowed three times over."""


@dataclass(frozen=True, slots=True)
class Played:
    """What came of `count` inputs."""

    count: int
    accepted: int
    seconds: float
    slowest: float
    failures: tuple[tuple[int, str], ...]
    """Seed, and what was raised."""


def input_of(target: Target, seed: int) -> Input:
    """The input that a seed stands for."""
    return target.make(Random(f"{target.name} {seed}"))


def play(target: Target, count: int, first: int = 0, most_failures: int = 10) -> Played:
    """Check `count` inputs, those of the seeds from `first` on."""
    accepted, slowest, done, began = 0, 0.0, 0, time.monotonic()
    failures: list[tuple[int, str]] = []
    for seed in range(first, first + count):
        value = input_of(target, seed)
        start = time.thread_time()
        try:
            accepted += target.check(value)
        except (Exception, SystemExit) as error:
            failures.append((seed, f"{type(error).__name__}: {error}"[:300]))
        taken = time.thread_time() - start
        if taken > 3 * target.slow_sec:
            failures.append((seed, f"took {taken:.1f} s of processor time"))
        slowest, done = max(slowest, taken), done + 1
        if len(failures) >= most_failures:
            break
    return Played(done, accepted, time.monotonic() - began, slowest, tuple(failures))


def to_file(value: Input) -> tuple[str, bytes]:
    """Suffix and content of the fixture that holds `value`."""
    if isinstance(value, bytes):
        return ".bin", value
    return ".txt", value.encode("utf-8", "surrogatepass")


def from_file(path: Path) -> Input:
    """The input that a fixture holds."""
    data = path.read_bytes()
    return data if path.suffix == ".bin" else data.decode("utf-8", "surrogatepass")


def sendable(text: str) -> None:
    """An error's text must reach the client: real text, and not so long that the queue is full of it."""
    text.encode()
    assert len(text) <= 10_000, f"a text of {len(text)} characters"
