"""The alert rules and the Grafana dashboard name series and labels that a worker really has, and the page for
operators names each of them."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import promql_parser
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from starlette.testclient import TestClient

from siwatsystem import metrics
from siwatsystem.actions.registry import KINDS
from siwatsystem.actions.targets import TargetKind
from siwatsystem.app import create_app
from siwatsystem.config import Settings
from siwatsystem.routes.state_series import WorkerState

ROOT = Path(__file__).parent.parent
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/worker.json").read_text("utf-8"))
QUERIES: list[tuple[str, str, str]] = [
    (panel["title"], target["expr"], target.get("legendFormat", ""))
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
]
ADDED = {"job", "instance"}
"""Labels that Prometheus adds to all that it scrapes."""


def scraped(metric: Metric, labels: set[str]) -> Iterator[tuple[str, set[str]]]:
    """The names under which a family's series are stored, with their labels."""
    match metric.type:
        case "counter":
            yield f"{metric.name}_total", labels
        case "info":
            yield f"{metric.name}_info", {"version", "revision", "python"}
        case "histogram":
            yield f"{metric.name}_bucket", labels | {"le"}
            yield f"{metric.name}_sum", labels
            yield f"{metric.name}_count", labels
        case _:
            yield metric.name, labels


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a worker tells that knows a server of each kind, and to which nothing has happened: in a process
    of its own, where no test counts."""
    script = """
import sys
from pathlib import Path
from starlette.testclient import TestClient
from siwatsystem.actions.brokers import kafka_target, mqtt_target
from siwatsystem.actions.receivers import webhook_target
from siwatsystem.actions.targets import postgresql_target, redis_target
from siwatsystem.app import create_app
from siwatsystem.config import Settings
app = create_app(Settings(data_dir=Path(sys.argv[1])))
with TestClient(app) as client:
    for target in (
        redis_target({"host": "127.0.0.1", "port": 1}),
        postgresql_target({"host": "127.0.0.1", "port": 2, "database": "d", "username": "u"}),
        mqtt_target({"host": "127.0.0.1", "port": 3}),
        kafka_target({"bootstrap_servers": "127.0.0.1:4"}),
        webhook_target("http://127.0.0.1:5/hook", None, False),
    ):
        app.state.worker.engine.outbox.register(target)
    print(client.get("/metrics").text)
"""
    command = [sys.executable, "-c", script, str(tmp_path_factory.mktemp("fresh"))]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=100).stdout


def zeros(text: str, series: str, label: str) -> set[str]:
    return set(re.findall(rf'^{series}{{[^}}]*{label}="([^"]+)"[^}}]*}} 0\.0$', text, re.MULTILINE))


def test_what_alerts_look_at_begins_at_zero(begun: str) -> None:
    """Else Prometheus sees no increase by the first event."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.partition("## What starts itself anew")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    parts = {name for row in rows for name in re.findall(r"`([^`]+)`", row)} | {"embedded"}
    assert zeros(begun, "siwat_restarts_total", "kind") == parts
    assert zeros(begun, "siwat_failed_parts", "kind") == parts
    sources = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "siwatsystem/actions").glob("*.py")
    )
    dropped = set(re.findall(r'\bdropped\("(\w+)"', sources))
    assert len(dropped) == 5
    assert zeros(begun, "siwat_outbox_dropped_total", "reason") == dropped
    assert zeros(begun, "siwat_actions_total", "action") == set(KINDS)
    places = {f"{kind} at 127.0.0.1:{port}" for port, kind in enumerate(get_args(TargetKind), 1)}
    assert zeros(begun, "siwat_actions_total", "server") == places
    assert zeros(begun, "siwat_tokens_refused_total", "reason") == {"wrong", "too_many"}


REFUSED = """
rule_files: [{alerts}]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - series: siwat_actions_total{{outcome="failed",instance="w",server="new",action="redis_publish"}}
        values: _x8 1x100
      - series: siwat_actions_total{{outcome="failed",instance="w",server="calm",action="redis_publish"}}
        values: 0x108
      - series: siwat_actions_total{{outcome="failed",instance="w",server="old",action="redis_publish"}}
        values: _x4 0x86 2x60
    alert_rule_test:
      - {{eval_time: 1m, alertname: ActionsRefused, exp_alerts: []}}
      - eval_time: 3m
        alertname: ActionsRefused
        exp_alerts:
          - exp_labels: {{severity: warning, instance: w, server: new, action: redis_publish}}
            exp_annotations: {{summary: new refused 1 × redis_publish of w for good}}
      - {{eval_time: 20m, alertname: ActionsRefused, exp_alerts: []}}
      - eval_time: 24m
        alertname: ActionsRefused
        exp_alerts:
          - exp_labels: {{severity: warning, instance: w, server: old, action: redis_publish}}
            exp_annotations: {{summary: old refused 2 × redis_publish of w for good}}
"""


def test_a_refusal_before_its_server_is_scraped_first_is_alerted_too(tmp_path: Path) -> None:
    (rule,) = (rule for rule in RULES if rule.get("alert") == "ActionsRefused")
    assert [one.offset for one in selectors(rule["expr"]) if one.offset] == [timedelta(minutes=15)]
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    (tmp_path / "refused.yml").write_text(REFUSED.format(alerts=ROOT / "deploy/prometheus/alerts.yml"))
    command = ["promtool", "test", "rules", str(tmp_path / "refused.yml")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """All series of a running worker with their labels: those that are counted, those of its state, those of
    the process, and the one that Prometheus makes itself."""
    found: dict[str, set[str]] = {"up": set()}
    for instrument in vars(metrics).values():
        if isinstance(instrument, MetricWrapperBase):
            for metric in instrument.collect():
                found.update(scraped(metric, set(instrument._labelnames)))
    app = create_app(Settings(data_dir=tmp_path_factory.mktemp("data")))
    with TestClient(app) as client:
        families = client.portal.call(lambda: list(WorkerState(app.state.worker).collect()))  # type: ignore[union-attr]
        text = client.get("/metrics").text
    for family in families:
        found.update(scraped(family, set(family._labelnames)))
    # Whoever scrapes gets all of them: those without labels, and the process's, have values at once.
    assert "siwat_outbox_bytes 0.0" in text
    assert 'siwat_build_info{python="' in text
    found.update({name: set() for name in re.findall(r"^(process_\w+) ", text, re.MULTILINE)})
    return found


def selectors(query: str) -> Iterator[promql_parser.VectorSelector]:
    """The series that a query names. Raises ValueError for one that is no PromQL."""
    found: list[promql_parser.VectorSelector] = []

    def visit(part: object) -> None:
        match part:
            case promql_parser.MatrixSelector():
                found.append(part.vector_selector)
            case promql_parser.VectorSelector():
                found.append(part)
            case _:
                pass

    promql_parser.walk(promql_parser.parse(query.replace("$instance", ".*")), visit)
    yield from found


def check(query: str, legend: str, series: dict[str, set[str]]) -> None:
    labels: set[str] = set(ADDED)
    for selector in selectors(query):
        assert selector.name in series, selector.name
        known = series[selector.name] | ADDED
        for matcher in selector.matchers.matchers:
            assert matcher.name in known, f"{selector.name} has no label {matcher.name}"
        labels |= known
    grouped = {name.strip() for inner in re.findall(r"\bby \(([^)]*)\)", query) for name in inner.split(",")}
    assert grouped <= labels, grouped - labels
    shown = set(re.findall(r"{{\s*(?:\$labels\.)?(\w+)\s*}}", legend))
    assert shown <= (grouped if grouped else labels), shown


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_ask_for_series_that_are_there(rule: dict[str, Any], series: dict[str, set[str]]) -> None:
    check(rule["expr"], rule["annotations"]["summary"], series)
    assert rule["labels"]["severity"] in ("critical", "warning")


@pytest.mark.parametrize(("title", "query", "legend"), QUERIES)
def test_panels_ask_for_series_that_are_there(
    title: str, query: str, legend: str, series: dict[str, set[str]]
) -> None:
    check(query, legend, series)


@pytest.mark.parametrize(
    "query", ["siwat_nothing > 1", "siwat_frames_analysed_total{camera='a'}", "sum by (x) (up)"]
)
def test_a_query_for_what_is_not_there_is_found(query: str, series: dict[str, set[str]]) -> None:
    with pytest.raises(AssertionError):
        check(query, "", series)


def test_every_counted_series_is_on_the_dashboard_or_left_out_on_purpose(series: dict[str, set[str]]) -> None:
    left_out = {
        "siwat_errors_unsent_total",
        "siwat_jpeg_encoded_total",
        "siwat_patches_total",
        "siwat_source_packets_total",
        "siwat_tokens_refused_total",
        "siwat_outbox_pending",
        "siwat_outbox_depth",
        "siwat_models_preparing",
    }
    text = json.dumps(DASHBOARD)
    base = {re.sub(r"_(bucket|sum|count)$", "", name) for name in series if name.startswith("siwat_")}
    assert {name for name in base if name not in text} == left_out


def test_the_operators_page_says_what_each_alert_and_series_means(series: dict[str, set[str]]) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `([A-Z]\w+)` \|", page, re.MULTILINE))
    assert told == {rule["alert"] for rule in RULES}
    base = {re.sub(r"_(bucket|sum|count)$", "", name) for name in series if name.startswith("siwat_")}
    listed = set(re.findall(r"^\| `(siwat_\w+)`", page, re.MULTILINE))
    assert listed == base


def test_the_data_source_of_the_panels_is_the_one_that_is_provisioned() -> None:
    folder = ROOT / "deploy/grafana/provisioning/datasources"
    sources = yaml.safe_load((folder / "prometheus.yaml").read_text(encoding="utf-8"))["datasources"]
    uids = {
        target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
    }
    assert uids == {sources[0]["uid"]}
