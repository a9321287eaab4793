"""What the image is made of is locked with hashes, installed from the lock, and built by pinned workflows."""

import importlib.machinery
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DOCKERFILES = [ROOT / "Dockerfile.base", ROOT / "Dockerfile"]
PLACES = [
    {
        "python_version": version.rpartition(".")[0],
        "python_full_version": version,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "os_name": "posix",
    }
    for version in ("3.11.0", "3.12.3")
]
"""The oldest Python that is supported and the image's, as markers see them."""


def pins(*names: str) -> dict[str, str]:
    """The requirements of files, by canonical name; all of them must be pinned."""
    found = {}
    for name in names:
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            text = line.partition("#")[0].strip()
            if text:
                package, version = text.split("==")
                found[canonicalize_name(package)] = version
    return found


def lock(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and SHA-256 digests of each package of a lock, by canonical name."""
    lines = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    found = {}
    for line in lines:
        text = line.partition(" #")[0].strip()
        if not text or text.startswith(("#", "--")):
            continue
        package, *hashes = text.split()
        package, version = package.split("==")
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), line
        found[package] = (version, frozenset(hashes))
    return found


LOCKED = lock("requirements.lock")


@pytest.mark.parametrize(
    ("locked", "required"),
    [
        ("requirements.lock", ["requirements.base.txt", "requirements.txt"]),
        ("requirements.base.lock", ["requirements.base.txt"]),
        ("requirements.ray.lock", ["requirements.ray.txt"]),
        ("requirements.tracing.lock", ["requirements.tracing.txt"]),
        ("requirements.tools.lock", ["requirements.tools.txt"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_lock_has_what_is_required_in_that_version_with_hashes(locked: str, required: list[str]):
    packages = lock(locked)
    wanted = pins(*required)
    assert wanted
    assert {name: packages[name][0] for name in wanted if name in packages} == wanted, "run `make lock`"
    assert not [name for name, (_, hashes) in packages.items() if not hashes]
    assert "--only-binary :all:" in (ROOT / locked).read_text(encoding="utf-8").splitlines()


def test_the_base_is_a_part_of_the_whole():
    base = lock("requirements.base.lock")
    assert {name: LOCKED.get(name) for name in base} == base
    assert base.keys() < LOCKED.keys()


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place["python_version"])
def test_a_lock_is_complete_for_the_oldest_python_and_for_the_image(place: dict[str, str]):
    """Walks what packages say they need; told by those that are installed here in the locked version."""
    waiting = [(name, "") for name in pins("requirements.base.txt", "requirements.txt")]
    seen: set[tuple[str, str]] = set()
    told = 0
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        assert name in LOCKED, f"{name} is missing: run `make lock`"
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if installed.version != LOCKED[name][0]:
            continue
        told += 1
        for text in installed.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({**place, "extra": extra}):
                needed = canonicalize_name(requirement.name)
                waiting += [(needed, each) for each in ("", *requirement.extras)]
                if needed in LOCKED:
                    assert requirement.specifier.contains(Version(LOCKED[needed][0]), prereleases=True), text
    assert told > len(LOCKED) / 2, "most packages here are not those of the lock: nothing is proved"


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Keyword and arguments of each instruction, continuation lines joined."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


def stages(dockerfile: Path) -> list[list[tuple[str, str]]]:
    """The instructions of each stage, its FROM first."""
    found: list[list[tuple[str, str]]] = []
    for instruction in instructions(dockerfile):
        if instruction[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_installs_only_what_is_locked(dockerfile: Path):
    installs = [
        command
        for keyword, arguments in instructions(dockerfile)
        if keyword == "RUN"
        for command in arguments.split("&&")
        if re.search(r"\bpip\b.* install\b", command)
    ]
    assert installs
    for command in installs:
        words = shlex.split(command)
        if "." in words:  # the product itself
            assert {"--no-deps", "--no-index", "--no-build-isolation"} <= set(words)
        else:
            assert "--require-hashes" in words
            assert words[words.index("-r") + 1].endswith(".lock")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_no_tool_is_left_in_an_image(dockerfile: Path):
    *earlier, last = stages(dockerfile)
    assert earlier
    shipped = [*last, *(earlier[0] if dockerfile.name == "Dockerfile.base" else [])]
    text = " ".join(arguments for keyword, arguments in shipped if keyword == "RUN")
    assert not re.search(r"\bpip\b|python3-(venv|pip|dev)|build-essential|\bgcc\b|\bcurl\b|\bwget\b", text)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_what_an_image_copies_reaches_its_build(dockerfile: Path):
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "*"
    allowed = [line[1:] for line in lines if line.startswith("!")]
    for keyword, arguments in instructions(dockerfile):
        if keyword == "COPY" and not arguments.startswith("--from="):
            for source in arguments.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch(source.removeprefix("./"), pattern) for pattern in allowed), source


def test_the_worker_runs_as_a_user_of_its_own():
    last = dict(stages(ROOT / "Dockerfile")[-1])
    user, _, group = last["USER"].partition(":")
    assert int(user) >= 10000
    assert int(group) >= 10000


class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: Any):
        pass


def test_the_health_check_tells_a_worker_that_answers_from_one_that_does_not():
    check = dict(stages(ROOT / "Dockerfile")[-1])["HEALTHCHECK"]
    command = json.loads(check.partition("CMD ")[2])
    command[0] = sys.executable
    server = HTTPServer(("127.0.0.1", 0), Health)
    environment = {**os.environ, "SIWAT_PORT": str(server.server_port)}
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        assert subprocess.run(command, env=environment, check=False, timeout=60).returncode == 0
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    done = subprocess.run(command, env=environment, check=False, timeout=60, capture_output=True)
    assert done.returncode != 0


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
    return [step for job in jobs for step in job.get("steps", [])]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_trusts_no_more_than_it_must(workflow: Path):
    text = workflow.read_text(encoding="utf-8")
    parsed = yaml.safe_load(text)
    assert parsed["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in text
    # The job's own token reaches the registry; only a deployment needs a key, which its environment keeps.
    used = set(re.findall(r"\bsecrets\.([A-Z_]+)", text))
    assert used == ({"SSH_KEY", "SSH_KNOWN_HOSTS"} if workflow.name == "deploy.yml" else set())
    if used:
        assert all("environment" in job for job in parsed["jobs"].values())
    for line in re.findall(r"uses: (.+)", text):
        if not line.startswith("./"):
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line
    for step in steps(workflow):
        assert "${{" not in step.get("run", ""), "text of an event must not become shell"
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_only_the_jobs_that_push_and_ask_for_a_deployment_may_write():
    writing = {
        (workflow.name, name, what)
        for workflow in WORKFLOWS
        for name, job in yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].items()
        for what, how in job.get("permissions", {}).items()
        if how == "write"
    }
    assert writing == {("images.yml", "image", "packages"), ("images.yml", "deploy", "actions")}


def test_the_base_image_is_named_by_all_that_it_is_made_of():
    sources = {"Dockerfile.base"}
    for keyword, arguments in instructions(ROOT / "Dockerfile.base"):
        if keyword == "COPY" and not arguments.startswith("--from="):
            sources.update(arguments.split()[:-1])
    script = next(
        s["run"] for s in steps(ROOT / ".github/workflows/images.yml") if s.get("name") == "Base image"
    )
    hashed = re.search(r"sha256sum ([^|]+) \|", script)
    assert hashed is not None
    assert set(hashed[1].split()) == sources


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_the_make_targets_of_a_workflow_exist(workflow: Path):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for step in steps(workflow):
        for line in step.get("run", "").splitlines():
            if line.startswith("make "):
                for word in line.split()[1:]:
                    variable, given, _ = word.partition("=")
                    assert (f"\n{variable} ?=" if given else f"\n{word}:") in makefile, word


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("audit", str(ROOT / ".ci" / "audit"))
    spec = importlib.util.spec_from_loader("audit", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_an_audit_that_could_not_look_is_not_one_that_found_nothing(audit: ModuleType):
    fine = {"name": "a", "version": "1", "vulns": []}
    skipped = {"name": "b", "skip_reason": "Dependency not found"}
    flaw = {"id": "PYSEC-1", "fix_versions": ["2"], "aliases": [], "description": ""}
    flawed = {"name": "c", "version": "1", "vulns": [flaw]}
    assert audit.judge([fine])[0] == 0
    assert audit.judge([fine, skipped])[0] == 75
    assert audit.judge([])[0] == 75
    status, why = audit.judge([skipped, flawed])
    assert status == 1
    assert "PYSEC-1" in why[0]
