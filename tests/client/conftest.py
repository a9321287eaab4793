"""Cameras and a worker for the client."""

from collections.abc import Iterator

import pytest

from siwatsystem.conformance import archive, stand
from siwatsystem.conformance.stand import Stand
from tests.fake_worker import Running, fake_worker


@pytest.fixture(scope="module")
def cameras() -> Iterator[Stand]:
    with stand.running({"check": archive.make()}) as running:
        yield running


@pytest.fixture
def worker() -> Iterator[Running]:
    with fake_worker() as running:
        yield running
