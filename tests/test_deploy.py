"""What deploy/ says is right about the code, and in the form that its readers ask for."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from siwatsystem.app import create_app
from siwatsystem.config import Settings, load_settings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
BASE = sorted((DEPLOY / "kubernetes" / "base").glob("[!k]*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
NAME = {"app.kubernetes.io/name": "detector-worker"}


def manifests() -> list[dict[str, Any]]:
    return [one for file in BASE for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def of_kind(kind: str) -> dict[str, Any]:
    return next(one for one in manifests() if one["kind"] == kind)


def settings_of(
    variables: dict[str, str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """As the process would read them; unknown names and bad values raise. Secrets lie in a folder here."""
    for name in [name for name in os.environ if name.startswith("SIWAT_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        if name.startswith("SIWAT_") and value is not None:
            if name.endswith("_TOKEN_FILE"):
                file = tmp_path / Path(value).name
                file.write_text(f"a-token-of-some-length-{name}")
                value = str(file)
            monkeypatch.setenv(name, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
    monkeypatch.chdir(tmp_path)
    return load_settings()


@pytest.mark.parametrize("service", ["worker-cpu", "worker-gpu", "control", "control-gpu"])
def test_the_settings_of_compose_exist(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(COMPOSE["services"][service]["environment"], tmp_path, monkeypatch)
    assert settings.control_token is not None
    assert settings.view_token is not None


def test_what_compose_names_is_there() -> None:
    for name, service in COMPOSE["services"].items():
        for secret in service.get("secrets", ()):
            assert secret in COMPOSE["secrets"], name
        for network in service["networks"]:
            assert network in COMPOSE["networks"], name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).is_dir(), (name, source)
            elif not source.startswith("$"):
                assert source in COMPOSE["volumes"], (name, source)


def test_traces_go_to_the_collector_of_compose_where_they_are_switched_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comment = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    endpoint = re.search(r"SIWAT_TRACING__ENDPOINT=(http://(\w+):4318)", comment)
    assert endpoint is not None
    assert COMPOSE["services"][endpoint[2]]["profiles"] == ["tracing"]
    variables = COMPOSE["services"]["worker-cpu"]["environment"]
    assert settings_of(variables, tmp_path, monkeypatch).tracing.endpoint is None
    set_by_somebody = {**variables, "SIWAT_TRACING__ENDPOINT": endpoint[1]}
    assert settings_of(set_by_somebody, tmp_path, monkeypatch).tracing.endpoint == endpoint[1]


def test_compose_publishes_on_loopback_unless_told_otherwise() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 6
    assert all(re.match(r"\$\{\w+_BIND:-127\.0\.0\.1\}:", port) for port in ports)


def test_prometheus_finds_the_worker_in_a_file_of_its_own() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    (pattern,) = job["file_sd_configs"][0]["files"]
    assert job["authorization"]["credentials_file"] == "/run/secrets/view_token"
    folder = DEPLOY / "prometheus" / Path(pattern).parent.name
    (group,) = [one for file in folder.glob("*.yml") for one in yaml.safe_load(file.read_text("utf-8"))]
    host, port = group["targets"][0].split(":")
    assert COMPOSE["services"]["worker-cpu"]["networks"]["site"]["aliases"] == [host]
    assert int(port) == Settings().port
    (alerts,) = config["alerting"]["alertmanagers"][0]["file_sd_configs"][0]["files"]
    assert list((DEPLOY / "prometheus" / Path(alerts).parent.name).glob("*.yml"))


def test_the_script_makes_the_secrets_that_compose_reads(tmp_path: Path) -> None:
    script = shutil.copy(DEPLOY / "secrets.sh", tmp_path)
    subprocess.run([script], check=True, capture_output=True, timeout=30)
    names = {Path(one["file"]).name for one in COMPOSE["secrets"].values()}
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert made.keys() == names
    assert len(set(made.values())) == len(names)
    assert all(re.fullmatch(r"[0-9a-f]{48}", secret) for secret in made.values())
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    subprocess.run([script], check=True, capture_output=True, timeout=30)
    assert {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()} == made


@pytest.mark.parametrize("file", BASE, ids=lambda file: file.name)
def test_manifests_are_what_kubernetes_takes(file: Path) -> None:
    for one in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        kubernetes_validate.validate(one, "1.33", strict=True)


@pytest.mark.parametrize("folder", ["base", "gpu"])
def test_kustomize_renders_what_kubernetes_takes(folder: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / folder)]
    rendered = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    documents = list(yaml.safe_load_all(rendered))
    assert len(documents) == 5
    for one in documents:
        kubernetes_validate.validate(one, "1.33", strict=True)
    worker = next(one for one in documents if one["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    container = worker["containers"][0]
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (folder == "gpu")
    names = [variable["name"] for variable in container["env"]]
    assert "SIWAT_CONTROL_TOKEN_FILE" in names  # the patch adds to the list


def test_all_selectors_mean_the_worker() -> None:
    worker = of_kind("StatefulSet")["spec"]
    assert worker["template"]["metadata"]["labels"] == NAME
    assert worker["selector"]["matchLabels"] == NAME
    assert of_kind("Service")["spec"]["selector"] == NAME
    assert of_kind("Service")["metadata"]["name"] == worker["serviceName"]
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == NAME
    assert of_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == NAME


def test_the_probes_and_settings_of_kubernetes_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    container = of_kind("StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    variables = {one["name"]: one["value"] for one in container["env"]}
    settings = settings_of(variables, tmp_path, monkeypatch)
    assert container["ports"] == [{"name": "http", "containerPort": settings.port}]
    paths = create_app(settings).openapi()["paths"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in paths
        assert container[probe]["httpGet"]["port"] == "http"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_settings_of_the_units_exist(unit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = re.findall(r"^Environment=(\w+)=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    folders = {"%S": str(tmp_path), "%d": "/run/credentials"}
    variables = {name: re.sub("%[Sd]", lambda found: folders[found[0]], value) for name, value in lines}
    settings = settings_of(variables, tmp_path, monkeypatch)
    assert settings.control_token is not None
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    assert stop is not None
    assert float(stop[1]) > 2 * settings.shutdown_timeout_sec


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    # It looks whether programs and folders are there, which are those of an installed machine.
    text = unit.read_text(encoding="utf-8")
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
    text = re.sub(r"^(WorkingDirectory)=.*$", r"\1=/tmp", text, flags=re.MULTILINE)
    (tmp_path / unit.name).write_text(text, encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stderr
    assert unit.name not in told.stderr
