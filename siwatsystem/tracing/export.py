"""Finished spans on their way to the collector: a bounded queue and one thread, which alone waits for it."""

import logging
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from siwatsystem.config import TracingSettings
from siwatsystem.errors import InvalidSetting

log = logging.getLogger(__name__)

_ANSWER_SEC = 3.0
"""Longest wait for the collector to take a batch, attempts that failed in passing included."""
_QUEUE = 4096
"""Spans that wait, at most; beyond it the oldest are dropped."""
_BATCH = 512
_DELAY_SEC = 2.0
_PATH = "/v1/traces"


def processor(settings: TracingSettings, endpoint: str) -> BatchSpanProcessor:
    """What takes finished spans, with its thread. Raises InvalidSetting (see `_headers`)."""
    parts = urlsplit(endpoint)
    # Proxies and passwords of the environment would send spans elsewhere, or say more than was asked for.
    session = requests.Session()
    session.trust_env = False
    exporter = OTLPSpanExporter(
        endpoint=endpoint if parts.path.strip("/") else endpoint.rstrip("/") + _PATH,
        certificate_file=ssl.get_default_verify_paths().cafile,
        headers=_headers(settings),
        timeout=_ANSWER_SEC,
        compression=Compression.Gzip,
        session=session,
    )
    return BatchSpanProcessor(
        _Told(exporter, parts.netloc),
        max_queue_size=_QUEUE,
        schedule_delay_millis=_DELAY_SEC * 1000,
        max_export_batch_size=_BATCH,
    )


def _headers(settings: TracingSettings) -> dict[str, str]:
    """Raises InvalidSetting for a file that cannot be read, and for what no header may hold."""
    headers = {name: secret.get_secret_value() for name, secret in settings.headers.items()}
    for name, path in settings.header_files.items():
        try:
            headers[name] = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no text"
            raise InvalidSetting(f"tracing.header_files.{name}: {path} cannot be read: {reason}") from None
    for name, value in headers.items():
        if not value.isascii() or not value.isprintable():
            raise InvalidSetting(f"tracing.headers.{name}: a header is one line of ASCII")
    return headers


class _Words(logging.Handler):
    """What the libraries say first of a batch; they would say it of each."""

    said = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.said = self.said or record.getMessage()


class _Told(SpanExporter):
    """Says once that the collector takes nothing, and once that it does again."""

    def __init__(self, exporter: SpanExporter, place: str) -> None:
        self._exporter = exporter
        self._place = place
        self._away = False
        self._words = _Words(logging.WARNING)
        library = logging.getLogger("opentelemetry")
        library.handlers = [self._words]
        library.propagate = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._words.said = ""
        result = self._exporter.export(spans)
        away = result is not SpanExportResult.SUCCESS
        if away and not self._away:
            log.warning("traces: %s takes none: %s", self._place, self._words.said or "no answer")
        elif self._away and not away:
            log.info("traces: %s takes them again", self._place)
        self._away = away
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)
