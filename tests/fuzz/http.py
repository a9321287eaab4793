"""Every route that the OpenAPI document has, with what it describes and with what it does not."""

from collections import Counter
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.fuzz.site import Site

TOKENS = (*["right"] * 8, "wrong", None)


def play(site: Site, examples: int, *, derandomize: bool) -> Counter[tuple[str, int]]:
    """How often each route answered with each status; raises for an answer that the document does not
    describe, and for any 5xx."""
    schema = schemathesis.openapi.from_dict(site.app.openapi())
    found: Counter[tuple[str, int]] = Counter()
    choose = settings(
        max_examples=examples,
        deadline=None,
        derandomize=derandomize,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    for result in schema.get_all_operations():
        operation: Any = result.ok()
        if operation.path in ENDLESS:
            continue
        modes = [GenerationMode.POSITIVE]
        if operation.path_parameters or operation.query or operation.body:
            modes.append(GenerationMode.NEGATIVE)
        cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))

        @choose
        @given(case=cases, known=st.booleans(), token=st.sampled_from(TOKENS))
        def one(case: Any, known: bool, token: str | None) -> None:
            there = site.known(case.operation.path) if known else {}
            parts = case.path_parameters or {}
            case.path_parameters = {**parts, **{name: there[name] for name in there.keys() & parts.keys()}}
            headers = {None: {}, "wrong": {"Authorization": "Bearer wrong"}, "right": site.token}[token]
            response = case.call(base_url=site.url, headers=headers, timeout=10)
            found[case.operation.path, response.status_code] += 1
            assert response.status_code < 500 or _is_told(case, response.status_code), response.text
            if response.status_code not in UNDESCRIBED.get(case.operation.path, ()):
                case.validate_response(response, checks=CHECKS)

        one()
    return found


def _is_told(case: Any, status: int) -> bool:
    """Whether a 503 or 504 is described: without an app, or while the server ends, nothing can be done, and
    an archive may take too long."""
    return status in (503, 504) and str(status) in case.operation.definition.raw["responses"]


def _checks() -> list[Any]:
    from schemathesis.specs.openapi import checks

    return [
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]


CHECKS = _checks()
ENDLESS = {"/deepstream/events"}
UNDESCRIBED = {"/login": (400, 408, 413)}
"""A body that is no text, comes too slowly or is too large; nothing of a browser's login page is that."""
