"""One inference per frame, model and crop, for however many subscriptions ask."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class PredictionMemo:
    """The models' answers about one picture. Thread-safe: who asks second waits for who asked first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[Hashable, Future[Any]] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The answer for `key`, made by whoever asks first; what `make` raises, all get."""
        with self._lock:
            answer = self._answers.get(key)
            mine = answer is None
            if answer is None:
                answer = self._answers[key] = Future()
        if mine:
            try:
                answer.set_result(make())
            except BaseException as error:
                answer.set_exception(error)
        return answer.result()
