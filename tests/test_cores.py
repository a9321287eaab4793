"""The cores that a container leaves, on control groups as they lie on the disk."""

import os
from pathlib import Path

import pytest

from siwatsystem import cores


def groups(folder: Path, process: str, **files: str) -> tuple[Path, Path]:
    """`files` by path with `__` for `/` and `_dot_` for `.`."""
    (folder / "process").write_text(process)
    for name, text in files.items():
        path = folder / "root" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (folder / "root").mkdir(exist_ok=True)
    return folder / "process", folder / "root"


@pytest.mark.parametrize(
    ("process", "files", "allowed"),
    [
        ("0::/\n", {"cpu_dot_max": "150000 100000"}, 2),
        ("0::/\n", {"cpu_dot_max": "max 100000"}, None),
        ("0::/\n", {"cpu_dot_max": "10000 100000"}, 1),
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu_dot_max": "garbage"}, None),
        ("0::/\n", {"cpu_dot_max": "100000 0"}, None),
        ("0::/a/b\n", {"a__b__cpu_dot_max": "max 100000", "a__cpu_dot_max": "300000 100000"}, 3),
        ("0::/../../a\n", {"cpu_dot_max": "200000 100000"}, 2),
        (
            "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n",
            {"cpu,cpuacct__cpu_dot_cfs_quota_us": "250000", "cpu,cpuacct__cpu_dot_cfs_period_us": "100000"},
            3,
        ),
        ("5:cpu:/\n", {"cpu__cpu_dot_cfs_quota_us": "-1", "cpu__cpu_dot_cfs_period_us": "100000"}, None),
        ("nonsense", {"cpu_dot_max": "100000 100000"}, None),
    ],
)
def test_the_quota_of_a_container(tmp_path: Path, process: str, files: dict[str, str], allowed: int | None):
    assert cores.quota(*groups(tmp_path, process, **files)) == allowed


def test_neither_more_than_the_quota_nor_than_the_affinity(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    for quota, usable, under in ((None, 8, 0), (3, 3, 3), (8, 8, 0), (64, 8, 0)):
        monkeypatch.setattr(cores, "quota", lambda quota=quota: quota)
        assert (cores.usable_cores(), cores.cores_under_quota()) == (usable, under)
