"""What this machine has room for, and how long its apps may take: the core's bounds from the settings."""

from siwatsystem import gpus
from siwatsystem.config import ControlSettings
from siwatsystem.deepstream.admission import Capacity
from siwatsystem.deepstream.limits import Limits


def capacity(settings: ControlSettings) -> Capacity:
    """Asks the driver for GPUs where the settings do not name them; takes a moment. A cluster's are its own
    launcher's business: they come and go."""
    if settings.launcher == "ray":
        return Capacity(max_apps=settings.max_apps, max_slots=settings.max_slots)
    numbers = range(gpus.count()) if settings.gpus is None else settings.gpus
    return Capacity(
        max_apps=settings.max_apps,
        max_slots=settings.max_slots,
        gpus=dict.fromkeys(numbers, settings.slots_per_gpu),
    )


def limits(settings: ControlSettings) -> Limits:
    return Limits(
        ready_sec=settings.start_timeout_sec,
        progress_sec=settings.progress_timeout_sec,
        restarts=settings.restarts,
        restart_window_sec=settings.restart_window_sec,
        kept_requests=settings.kept_requests,
        kept_files=settings.kept_files,
    )
