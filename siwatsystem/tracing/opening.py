"""The tracer that the settings ask for."""

from siwatsystem.config import TracingSettings
from siwatsystem.errors import InvalidSetting
from siwatsystem.tracing.tracer import Tracer


def open_tracer(settings: TracingSettings) -> Tracer | None:
    """None without an endpoint: then no library is loaded. Raises InvalidSetting where OpenTelemetry is not
    installed, and for a header's file that cannot be read."""
    if settings.endpoint is None:
        return None
    try:
        from siwatsystem.tracing.spans import Spans
    except ImportError as error:
        raise InvalidSetting(
            f"tracing.endpoint is set, but OpenTelemetry is not installed: pip install '.[tracing]' ({error})"
        ) from None
    return Spans(settings, settings.endpoint)
