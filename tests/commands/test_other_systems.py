"""Commands for operators' own machines start where the modules of Unix are missing, as on Windows."""

import subprocess
import sys

import pytest

WITHOUT_UNIX = """
import sys
for name in ("fcntl", "resource", "termios", "pwd", "grp", "tty", "pty"):
    sys.modules[name] = None
from siwatsystem.__main__ import app
app(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--help"], 0, "camera"),
        (["camera", "list"], 0, ""),
        (["camera", "check", "http://127.0.0.1:1/x"], 1, "refused"),
        (["camera", "serve", "--source", "nothing.mp4"], 1, "no such file"),
        (["redis", "list", "--url", "redis://127.0.0.1:1"], 1, "127.0.0.1:1"),
        (["check", "--list"], 0, ""),
        (["mpta", "validate", "demo/demo.mpta"], 0, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_command_needs_no_unix(arguments: list[str], status: int, words: str):
    command = [sys.executable, "-c", WITHOUT_UNIX, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == status, done.stderr
    assert words in done.stdout + done.stderr
