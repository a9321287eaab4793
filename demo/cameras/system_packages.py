"""What the RTSP camera needs of the operating system.

    python -m demo.cameras.system_packages [--install] [--tests]

`--install` asks apt-get, where this user may; else what is missing is named and the demo shows its
cameras over HTTP. `--tests` adds what only tests need: a browser, and a view of system calls.
"""

import argparse
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0",
    "python3-gi",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-plugins-ugly",
    "gstreamer1.0-libav",
)
FOR_TESTS = ("chromium", "mosquitto", "strace")
"""Packages whose program has their name."""
APT = ["-qq", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=120"]
INSTALL_TIMEOUT_SEC = 900
LOOK = """
try:
    import gi
except ImportError:
    print("python3-gi")
    raise SystemExit
try:
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import Gst, GstRtspServer
except (ImportError, ValueError):
    print("gir1.2-gst-rtsp-server-1.0")
    raise SystemExit
Gst.init(None)
OWNERS = {"appsrc": "base", "appsink": "base", "qtdemux": "good", "rtph264pay": "good", "h264parse": "bad"}
for name in sorted({owner for element, owner in OWNERS.items() if not Gst.ElementFactory.find(element)}):
    print("gstreamer1.0-plugins-" + name)
"""


def missing() -> list[str]:
    """Debian packages that the RTSP camera lacks; empty when it can run."""
    if not Path(SYSTEM_PYTHON).exists():
        return ["python3", *PACKAGES]
    look = subprocess.run(
        [SYSTEM_PYTHON, "-c", LOOK], check=False, capture_output=True, text=True, timeout=120
    )
    return look.stdout.split() if look.returncode == 0 else list(PACKAGES)


def missing_for_tests() -> list[str]:
    """Debian packages that tests need beside those."""
    return [name for name in FOR_TESTS if shutil.which(name) is None]


def install(packages: Sequence[str] = PACKAGES) -> str:
    """Install `packages`. Returns why that could not be done, empty when it was."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "this needs apt-get as root: apt-get install " + " ".join(packages)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    steps = (["update"], ["install", "-y", "--no-install-recommends", *packages])
    for step in steps:
        command = ["apt-get", *APT, *step]
        try:
            done = subprocess.run(
                command, check=False, env=env, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_SEC
            )
        except subprocess.TimeoutExpired:
            return f"apt-get {step[0]} took longer than {INSTALL_TIMEOUT_SEC} s"
        if done.returncode != 0:
            return f"apt-get {step[0]}: {' '.join(done.stderr.split()[-40:])}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description="What the RTSP camera needs of the operating system.")
    parser.add_argument("--install", action="store_true", help="install it with apt-get where possible")
    parser.add_argument("--tests", action="store_true", help="and what only tests need")
    options = parser.parse_args()
    lacking, for_tests = missing(), missing_for_tests() if options.tests else []
    reason = ""
    if options.install and (lacking or for_tests):
        reason = install([*(PACKAGES if lacking else ()), *for_tests])
        lacking, for_tests = missing(), [name for name in for_tests if shutil.which(name) is None]
    if for_tests:
        print("tests: the system lacks " + ", ".join(for_tests))
    if lacking:
        print("RTSP cameras: the system lacks " + ", ".join(lacking))
        if reason:
            print(reason)
        print("the demo goes on with HTTP cameras")


if __name__ == "__main__":
    main()
