"""The core's bounds from the settings and the machine."""

import pynvml
import pytest

from siwatsystem.config import ControlSettings
from siwatsystem.deepstream import capacity
from siwatsystem.deepstream.admission import admit
from siwatsystem.deepstream.apps import Spec


def test_gpus_that_are_named_are_those_that_there_are():
    room = capacity.capacity(ControlSettings(gpus=(1, 3), slots_per_gpu=4, max_apps=2, max_slots=9))
    assert room.gpus == {1: 4, 3: 4}
    assert (room.max_apps, room.max_slots) == (2, 9)
    assert admit(Spec("/c", 4, (3,)), [], room) is None
    refused = admit(Spec("/c", 1, (0,)), [], room)
    assert refused is not None
    assert (refused.status, refused.reason) == (422, "there is no GPU 0 (there: 1, 3)")
    refused = admit(Spec("/c", 1, (3,)), [Spec("/c", 4, (3,))], room)
    assert refused is not None
    assert refused.status == 503


def test_the_driver_is_asked_for_gpus(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    assert capacity.capacity(ControlSettings(slots_per_gpu=8)).gpus == {0: 8, 1: 8}


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    room = capacity.capacity(ControlSettings())
    assert room.gpus == {}
    assert admit(Spec("/c", 4), [], room) is None
    refused = admit(Spec("/c", 1, (0,)), [], room)
    assert refused is not None
    assert (refused.status, refused.reason) == (422, "there is no GPU 0 (there: none)")


def test_times_and_restarts_come_from_the_settings():
    limits = capacity.limits(ControlSettings(start_timeout_sec=7, restarts=1, restart_window_sec=30))
    assert (limits.ready_sec, limits.restarts, limits.restart_window_sec) == (7, 1, 30)
