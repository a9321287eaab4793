from typing import Any

import pytest

from siwatsystem.drafting import (
    Branch,
    Wishes,
    distinct_names,
    draft,
    model_ids,
    postgresql_server,
    redis_server,
)
from siwatsystem.pipeline.class_checks import check_classes, class_warnings
from siwatsystem.pipeline.spec import parse
from siwatsystem.pipeline.warnings import warnings_of
from siwatsystem.runtime.metadata import Metadata

CARS = Metadata("detect", {0: "Car", 1: "Frontal", 2: "Bus"}, (320, 320))
BRANDS = Metadata("classify", {0: "Aster", 1: "Borel"}, (96, 96))
BRANCHES = (Branch("car_brand.pt", BRANDS, "Frontal"), Branch("colours.pt", BRANDS, "Car"))


@pytest.mark.parametrize("redis", [None, "embedded", {"host": "h", "port": 6379, "db": 0}])
@pytest.mark.parametrize("postgresql", [None, "embedded"])
@pytest.mark.parametrize("branches", [(), BRANCHES[:1], BRANCHES, BRANCHES[1:]])
@pytest.mark.parametrize("object_class", [None, "Car"])
def test_every_draft_is_valid_and_without_a_warning(
    redis: Any, postgresql: Any, branches: tuple[Branch, ...], object_class: str | None
) -> None:
    data = draft(Wishes("cars.pt", CARS, ("Car",), branches, object_class, redis, postgresql))
    spec = parse(data, ["cars.pt", *(branch.file for branch in branches)])
    names = {
        node.model_id: list((BRANDS if node.crop else CARS).names.values()) for node in spec.pipeline.walk()
    }
    assert (check_classes(spec, names), class_warnings(spec, names), warnings_of(spec)) == ([], [], [])
    assert (spec.redis is None, spec.postgresql is None) == (redis is None, postgresql is None)


def test_what_a_branch_looks_at_is_kept_by_the_root_and_recorded() -> None:
    data = draft(Wishes("cars.pt", CARS, ("Car",), BRANCHES, None, None, "embedded"))
    root = data["pipeline"]
    assert root["triggerClasses"] == ["Car", "Frontal"]
    (action,) = root["parallelActions"]
    assert action["fields"] == {"car_brand": "{car_brand.brand}", "updated_at": "NOW()"}
    assert action["waitForBranches"] == ["car_brand"]
    assert "{colours.class}" in root["// parallelActions"]


def test_names_are_distinct_and_fit_templates() -> None:
    assert model_ids(["a/best.pt", "b/best.onnx", "Käse-2.pt", "...pt"]) == [
        "best",
        "best_2",
        "Käse_2",
        "model",
    ]
    assert distinct_names(["best.pt", "best.pt", "best", "best.pt"]) == [
        "best.pt",
        "best_2.pt",
        "best",
        "best_3.pt",
    ]


def test_servers_are_read_from_addresses() -> None:
    assert redis_server("none") is None
    assert redis_server("10.0.0.5") == {"host": "10.0.0.5", "port": 6379, "db": 0}
    assert redis_server("redis://me:p%40ss@h:7/2") == {
        "host": "h", "port": 7, "db": 2, "username": "me", "password": "p@ss"
    }  # fmt: skip
    assert postgresql_server("embedded") == "embedded"
    assert postgresql_server("postgresql://me@h/station") == {
        "host": "h", "port": 5432, "database": "station", "username": "me", "password": ""
    }  # fmt: skip


@pytest.mark.parametrize("text", ["http://h", "redis://h:99999", "redis://", "redis://h/x"])
def test_what_is_no_redis_address_is_told(text: str) -> None:
    with pytest.raises(ValueError):
        redis_server(text)


@pytest.mark.parametrize("text", ["h", "postgresql://h/db", "postgresql://me@h"])
def test_a_postgresql_address_needs_user_and_database(text: str) -> None:
    with pytest.raises(ValueError, match="postgresql://user"):
        postgresql_server(text)
