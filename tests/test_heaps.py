"""The C library's heaps, in a process of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path

from siwatsystem import heaps

ALLOCATE = """
import ctypes, sys, threading
from siwatsystem import heaps
if sys.argv[2] == "shared":
    heaps.share()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
held = threading.Barrier(101)
def allocate():
    libc.malloc(1000)
    held.wait()
threads = [threading.Thread(target=allocate) for _ in range(100)]
for thread in threads:
    thread.start()
held.wait()
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


def heaps_of(file: Path, how: str) -> int:
    """How many heaps a hundred threads of a process have that allocate at the same time."""
    subprocess.run([sys.executable, "-c", ALLOCATE, str(file), how], check=True, timeout=60)
    return len(re.findall("<heap nr=", file.read_text()))


def test_threads_share_heaps(tmp_path: Path):
    cores = os.cpu_count() or 1
    assert heaps_of(tmp_path / "shared.xml", "shared") <= max(2, cores)
    assert heaps_of(tmp_path / "own.xml", "own") > max(2, cores)


def test_giving_back_does_no_harm():
    kept = [bytes(100_000) for _ in range(10)]
    heaps.give_back()
    assert all(len(one) == 100_000 for one in kept)
