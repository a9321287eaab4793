"""What holds the control server together: who begins, who ends, and who waits for whom."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from siwatsystem.deepstream.apps import App, Spec
from siwatsystem.deepstream.effects import Drop, Save
from siwatsystem.deepstream.events import Launch, Launched, Terminate
from siwatsystem.deepstream.service import STATE_FILE
from siwatsystem.deepstream.slots import Control
from siwatsystem.deepstream.store import Store
from tests.deepstream.site import FakeLauncher, site


def test_an_app_that_was_ending_is_found_before_it_is_signalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A signal to an app that the launcher does not know would be answered by its end."""
    before = Control()
    store = Store(tmp_path / STATE_FILE)
    for event in (Launch("l", Spec("/a.txt", 1), "one"), Launched("one", 1, 4711), Terminate("t", "one")):
        store.save(each for each in before.handle(event, time.time()) if isinstance(each, Save | Drop))
    store.close()
    early: list[int] = []

    def adopt(self: FakeLauncher, apps: Sequence[App]) -> None:
        time.sleep(0.3)
        early.append(len(self.signals))
        self.adopted = [app.instance_id for app in apps]

    monkeypatch.setattr(FakeLauncher, "adopt", adopt)
    with site(tmp_path) as here:
        assert here.launcher.adopted == ["one"]
        end = time.monotonic() + 10
        while not here.launcher.signals and time.monotonic() < end:
            time.sleep(0.01)
        assert here.launcher.signals
    assert early == [0]
