"""What holds for a whole test run."""

import os

import pytest

from tests import exports


@pytest.fixture(scope="session", autouse=True)
def _exports_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One folder for all processes that tests are run in."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exports"
    folder.mkdir(exist_ok=True)
    os.environ[exports.VARIABLE] = str(folder)
