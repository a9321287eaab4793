"""How commands meet their surroundings: the limits that are set, and one line when something fails."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

import typer

from siwatsystem.config import ModelSettings, load_settings
from siwatsystem.errors import InvalidSetting, SiwatError

PIPED_WIDTH = 10_000
"""Columns where no terminal gives them: lines are not broken in files."""


def limits() -> ModelSettings:
    """The limits for archives of config.json and the environment. Ends the command for a bad setting."""
    try:
        return load_settings().models
    except InvalidSetting as error:
        leave(error.message, 2)


@contextmanager
def told() -> Generator[None]:
    """What fails inside ends the command with one line and status 1."""
    try:
        yield
    except SiwatError as error:
        leave(error.message, 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        leave(f"{where}{error.strerror or error}", 1)


def leave(message: str, status: int) -> NoReturn:
    """End the command with one line on stderr."""
    print(f"siwat: {message}", file=sys.stderr)
    raise typer.Exit(status)
