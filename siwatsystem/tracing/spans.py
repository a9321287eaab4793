"""Spans of OpenTelemetry, made of the times that the worker's parts tell."""

import random
import re
import socket
import threading
import time
from collections.abc import Iterable, Mapping

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Tracer as Maker
from opentelemetry.util.types import AttributeValue

from siwatsystem import __version__
from siwatsystem.config import TracingSettings
from siwatsystem.tracing.export import processor
from siwatsystem.tracing.tracer import NodeStep, Taken

_PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)

Attributes = Mapping[str, AttributeValue]


class Spans:
    """A `Tracer` that sends to `endpoint`."""

    def __init__(self, settings: TracingSettings, endpoint: str) -> None:
        self._ratio = settings.sample_ratio
        named = {
            "service.name": settings.service_name,
            "service.version": __version__,
            "host.name": socket.gethostname(),
        }
        # Whether a frame is sampled is decided before anything is made of it.
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource(named), shutdown_on_exit=False)
        self._provider.add_span_processor(processor(settings, endpoint))
        self._maker = self._provider.get_tracer("siwatsystem", __version__)

    def samples(self) -> bool:
        return random.random() < self._ratio

    def frame(self, taken: Taken) -> "Frame":
        return Frame(self._maker, taken)

    def action(
        self, kind: str, fields: Mapping[str, object], traceparent: str, began: float, error: str | None
    ) -> None:
        parent = _PARENT.fullmatch(traceparent)
        if parent is None:
            return
        trace, number = (int(part, 16) for part in parent.groups())
        above = NonRecordingSpan(SpanContext(trace, number, is_remote=True, trace_flags=_SAMPLED))
        span = self._maker.start_span(
            f"action {kind}",
            set_span_in_context(above, Context()),
            SpanKind.CLIENT,
            {f"siwat.{name}": str(value) for name, value in fields.items()},
            start_time=round(began * 1e9),
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end()

    def close(self, timeout: float) -> None:
        # It waits for the collector for longer than there is, and cannot be told otherwise.
        thread = threading.Thread(target=self._provider.shutdown, name="close-tracing", daemon=True)
        thread.start()
        thread.join(timeout)


class Frame:
    """A `FrameSpans`. Moments are read from one clock, so that spans lie inside each other even where the
    wall clock is set meanwhile."""

    def __init__(self, maker: Maker, taken: Taken) -> None:
        now = time.perf_counter()
        self._maker = maker
        self._zero = taken.captured_at + time.monotonic() - taken.monotonic - now
        captured = round(taken.captured_at * 1e9)
        fields: dict[str, AttributeValue] = {
            "siwat.source": taken.source,
            "siwat.subscriptions": list(taken.subscriptions),
            "siwat.model": taken.model,
            "siwat.precision": taken.precision,
            "siwat.sequence": taken.sequence,
            "siwat.dropped_before": taken.dropped_before,
        }
        self._root = maker.start_span("frame", Context(), attributes=fields, start_time=captured)
        self._inside = set_span_in_context(self._root, Context())
        self._analysed_at = now
        self._span("wait", captured, self._ns(now))

    def analysed(
        self, subscription: str, began: float, steps: Iterable[NodeStep], error: Exception | None = None
    ) -> None:
        self._analysed_at = now = time.perf_counter()
        said: Attributes = {"siwat.subscription": subscription}
        span = self._span("analyse", self._ns(began), self._ns(now), said, error)
        inside = set_span_in_context(span, Context())
        for step in steps:
            if step.began:
                node = self._maker.start_span(step.model_id, inside, start_time=self._ns(step.began))
                if step.outcome == "failed":
                    node.set_status(StatusCode.ERROR)
                node.end(self._ns(step.began + step.seconds))

    def event(self, actions: int) -> "Event":
        began = self._ns(time.perf_counter())
        span = self._maker.start_span(
            "outbox", self._inside, attributes={"siwat.actions": actions}, start_time=began
        )
        return Event(span, self._zero, _traceparent(self._root))

    def finish(self, error: Exception | None = None, *, discarded: bool = False) -> None:
        now = self._ns(time.perf_counter())
        if discarded:
            self._root.set_attribute("siwat.discarded", True)
        else:
            self._span("deliver", self._ns(self._analysed_at), now)
        _note(self._root, error)
        self._root.end(now)

    def _span(
        self,
        name: str,
        began: int,
        ended: int,
        attributes: Attributes | None = None,
        error: Exception | None = None,
    ) -> Span:
        span = self._maker.start_span(name, self._inside, attributes=attributes, start_time=began)
        _note(span, error)
        span.end(ended)
        return span

    def _ns(self, moment: float) -> int:
        return round((self._zero + moment) * 1e9)


class Event:
    """An `EventSpan`."""

    def __init__(self, span: Span, zero: float, traceparent: str) -> None:
        self.traceparent = traceparent
        self._span = span
        self._zero = zero

    def end(self, *, lost: bool = False) -> None:
        if lost:
            self._span.set_status(Status(StatusCode.ERROR, "dropped"))
        self._span.end(round((self._zero + time.perf_counter()) * 1e9))


def _note(span: Span, error: Exception | None) -> None:
    """Only what kind of error: its words may name anything."""
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))


def _traceparent(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
