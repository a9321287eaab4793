"""`--help` of every command: it is shown, with every option and its words as they were written."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from siwatsystem import __version__
from siwatsystem.__main__ import app


def commands() -> Iterator[tuple[str, ...]]:
    root = typer.main.get_command(app)
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        yield (name,)
        yield from ((name, below) for below in getattr(command, "commands", ()))


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]):
    shown = CliRunner().invoke(app, [*command, "--help"])
    assert shown.exit_code == 0, shown.output
    assert f"{' '.join(command)} [OPTIONS]" in shown.output


def test_completion_is_made_for_the_installed_name():
    command = [sys.executable, "-m", "siwatsystem", "--show-completion", "bash"]
    env = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = subprocess.run(command, capture_output=True, text=True, timeout=100, env=env, check=False)
    assert "_SIWAT_COMPLETE=complete_bash" in shown.stdout, shown
    assert "-F _siwat_completion siwat" in shown.stdout


def test_the_version_is_told():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"siwat {__version__}\n"


def test_addresses_are_shown_as_they_are_written():
    shown = CliRunner().invoke(app, ["mpta", "init", "--help"], env={"COLUMNS": "200"})
    assert "redis://[user:password@]host[:port][/db]" in shown.output
    assert "postgresql://user[:password]@host[:port]/database" in shown.output
