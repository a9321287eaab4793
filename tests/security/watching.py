"""Sees what a process and its children try to reach, native code included: strace writes it down."""

import ipaddress
import re
import shutil
import subprocess
import sys
from pathlib import Path

STRACE = "strace"
CALLS = "connect,sendto,sendmsg,sendmmsg"
_V4 = re.compile(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)')
_V6 = re.compile(r'sin6_port=htons\((\d+)\).*?inet_pton\(AF_INET6, "([^"]+)"')
DNS = 53


def missing() -> str:
    """Why nothing can be watched here; empty where it can."""
    if shutil.which(STRACE) is None:
        return "strace is not installed"
    look = subprocess.run([STRACE, "-o", "/dev/null", "true"], capture_output=True, text=True, timeout=30)
    return "" if look.returncode == 0 else f"processes may not be traced here: {look.stderr.strip()[-200:]}"


def watched_python(folder: Path) -> Path:
    """An executable that is Python, watched: what it and its children try is written to `folder`/calls."""
    script = folder / "python"
    # -D: the tracer is a grandchild, so that signals and the exit status are Python's own.
    command = f"exec {STRACE} -D -f -qq -s 64 -e trace={CALLS} -e signal=none -o '{folder}/calls'"
    script.write_text(f"#!/bin/sh\n{command} '{sys.executable}' \"$@\"\n")
    script.chmod(0o755)
    return script


def reached(folder: Path) -> list[tuple[str, int]]:
    """Addresses and ports outside of this machine, and every name server, that were tried."""
    found = []
    text = (folder / "calls").read_text(errors="replace")
    for port, address in [*_V4.findall(text), *_V6.findall(text)]:
        if not ipaddress.ip_address(address).is_loopback or int(port) == DNS:
            found.append((address, int(port)))
    return found


def calls(folder: Path) -> int:
    """How many calls to the network were seen at all."""
    return (folder / "calls").read_text(errors="replace").count("sa_family=AF_INET")
