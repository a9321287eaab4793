"""A collector of traces: a real HTTP server that decodes what OTLP sends it, hangs, or sends elsewhere."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Told:
    """A span as it arrived; times in seconds since 1970, ids in hexadecimal, `parent` empty for a root."""

    name: str
    trace: str
    number: str
    parent: str
    began: float
    ended: float
    attributes: dict[str, Any]
    error: str | None
    """Why it failed (may be empty); None where it did not."""
    service: str


class Collector:
    """What has arrived. `redirect`: where it sends all requests to; `held`: it answers nothing while set."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list[Told] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.redirect: str | None = None
        self.held = False
        self.free = threading.Event()

    def named(self, name: str) -> list[Told]:
        return [span for span in self.spans if span.name == name]

    def below(self, above: Told) -> list[Told]:
        return [span for span in self.spans if span.parent == above.number]

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_told(span, service) for span in scope.spans]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    found = getattr(value, kind)
    return [_value(one) for one in found.values] if kind == "array_value" else found


def _told(span: Any, service: str) -> Told:
    return Told(
        name=span.name,
        trace=span.trace_id.hex(),
        number=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        began=span.start_time_unix_nano / 1e9,
        ended=span.end_time_unix_nano / 1e9,
        attributes=_attributes(span.attributes),
        error=span.status.message if span.status.code == 2 else None,
        service=service,
    )


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        collector: Collector = self.server.collector  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["content-length"]))
        collector.paths.append(self.path)
        collector.headers.append(dict(self.headers))
        if collector.held:
            collector.free.wait(60)
            return
        if collector.redirect is not None:
            self.send_response(307)
            self.send_header("location", collector.redirect)
        else:
            collector.take(gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
            self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def collector(port: int = 0) -> Iterator[Collector]:
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    made = Collector(int(server.server_address[1]))
    server.collector = made  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, name="collector")
    thread.start()
    try:
        yield made
    finally:
        made.free.set()
        server.shutdown()
        thread.join()
        server.server_close()
