"""What this machine has room for, and how long its apps may take: the core's bounds from the settings."""

from siwatsystem import gpus
from siwatsystem.config import ControlSettings
from siwatsystem.deepstream.admission import Capacity
from siwatsystem.deepstream.limits import Limits


def capacity(settings: ControlSettings) -> Capacity:
    """Asks the driver for GPUs where the settings do not name them; takes a moment."""
    numbers = range(gpus.count()) if settings.gpus is None else settings.gpus
    return Capacity(
        max_apps=settings.max_apps,
        max_slots=settings.max_slots,
        gpus=dict.fromkeys(numbers, settings.slots_per_gpu),
    )


def limits(settings: ControlSettings) -> Limits:
    return Limits(
        ready_sec=settings.start_timeout_sec,
        restarts=settings.restarts,
        restart_window_sec=settings.restart_window_sec,
    )
