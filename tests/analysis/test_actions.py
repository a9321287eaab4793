from typing import Any

import pytest

from siwatsystem.actions.base import OutboxEvent
from siwatsystem.analysis import actions
from siwatsystem.analysis.actions import Actions


class DeadServer:
    """An outbox whose server never answers; its clock is told by who waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waited: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def register(self, target: Any) -> str:
        return "key"

    def submit(self, event: OutboxEvent) -> None:
        pass

    def flush(self, event_id: str, timeout: float) -> bool:
        self.waited.append(timeout)
        self.now += min(timeout, 20)
        return False

    def status(self) -> dict[str, Any]:
        return {"degraded": [], "depth": len(self.waited)}


def test_one_deadline_holds_for_all_events(monkeypatch: pytest.MonkeyPatch):
    server = DeadServer()
    monkeypatch.setattr(actions, "time", server)
    kept = Actions(lambda: server)
    kept.register(None)  # pyright: ignore[reportArgumentType]
    for number in range(4):
        kept.submit(OutboxEvent(str(number), []))
    left = kept.settle(30)
    assert server.waited == [30, 10, 0, 0]
    assert left == ["4 actions wait on disk and are done when a server takes them"]
