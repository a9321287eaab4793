"""Prometheus instruments, by name. Rooms import the instrument they move; `/metrics` reads all.

Labels never hold a URL: a subscription, a source's number, a sink or a model id.
"""

import threading

from prometheus_client import Counter, Gauge, Histogram, Info


class HeldSeries:
    """The series of a histogram whose only label is a model: each ends when the last who holds it lets it
    go. Thread-safe. What is observed of one that nobody holds, as by a call that comes back after all was
    closed, is counted nowhere."""

    def __init__(self, instrument: Histogram) -> None:
        self._instrument = instrument
        self._lock = threading.Lock()
        self._held: dict[str, tuple[Histogram, int]] = {}
        """The series by their label, and how many hold each."""

    def hold(self, label: str) -> None:
        with self._lock:
            series, count = self._held.get(label) or (self._instrument.labels(label), 0)
            self._held[label] = series, count + 1

    def release(self, label: str) -> None:
        """Once for each `hold`."""
        with self._lock:
            series, count = self._held.pop(label)
            if count > 1:
                self._held[label] = series, count - 1
            else:
                self._instrument.remove(label)

    def observe(self, label: str, value: float) -> None:
        # Not through the instrument, which would make a series anew.
        held = self._held.get(label)
        if held is not None:
            held[0].observe(value)


FRAMES_CAPTURED = Counter("siwat_frames_captured", "Frames delivered by a source", ["source"])
FRAMES_ANALYSED = Counter("siwat_frames_analysed", "Frames analysed for a subscription", ["subscription"])
FRAMES_DROPPED = Counter(
    "siwat_frames_dropped", "Frames due for analysis that overload dropped", ["subscription"]
)
FRAME_AGE = Histogram(
    "siwat_frame_age_seconds",
    "Age of a frame when what was seen on it was handed to delivery",
    ["subscription"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
OF_SUBSCRIPTIONS = (FRAMES_ANALYSED, FRAMES_DROPPED, FRAME_AGE)
"""Instruments whose only label is a subscription: their series end with it."""
RECONNECTS = Counter("siwat_source_reconnects", "Times a source was opened again", ["source"])
DECODE_ERRORS = Counter("siwat_source_decode_errors", "Packets that could not be decoded", ["source"])
PACKETS_RECEIVED = Counter("siwat_source_packets", "Video packets received from a source", ["source"])
FRAMES_DECODED = Counter(
    "siwat_source_frames_decoded", "Frames decoded of a source; fewer where only some are needed", ["source"]
)
OF_SOURCES = (FRAMES_CAPTURED, RECONNECTS, DECODE_ERRORS, PACKETS_RECEIVED, FRAMES_DECODED)
"""Instruments whose only label is a source: their series end with it."""
NODE_SECONDS = Histogram(
    "siwat_node_seconds",
    "Time a pipeline node took for one picture",
    ["model"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
)
BATCH_SIZE = Histogram(
    "siwat_batch_size", "Pictures in one model call", ["model"], buckets=(1, 2, 4, 8, 16, 32)
)
NODE_TIMES = HeldSeries(NODE_SECONDS)
"""Held by the pipelines that are open."""
BATCH_SIZES = HeldSeries(BATCH_SIZE)
"""Held by the models that are loaded."""
OUTBOX_DEPTH = Gauge("siwat_outbox_depth", "Actions waiting in the outbox", ["target"])
OUTBOX_DROPPED = Counter("siwat_outbox_dropped", "Actions dropped from the outbox", ["reason"])
ACTIONS_DONE = Counter("siwat_actions", "Actions by outcome", ["action", "outcome", "server"])
DETECTIONS_SENT = Counter("siwat_detections_sent", "imageDetection messages handed to a connection")
DETECTIONS_LATE = Counter(
    "siwat_detections_late", "Detections that went the patchSession way or were dropped"
)
PATCHES = Counter("siwat_patches", "Sessions patched: sent, accepted, refused, expired, dropped", ["outcome"])
ERRORS_UNSENT = Counter("siwat_errors_unsent", "Errors that a client did not read in time")
CONNECTIONS = Gauge("siwat_websocket_connections", "Open WebSocket connections")
ERRORS = Counter("siwat_errors", "Errors told, by code", ["code"])
TOKENS_REFUSED = Counter(
    "siwat_tokens_refused",
    "Tokens that opened nothing: wrong, or not looked at after many",
    ["reason"],
)
JPEG_ENCODED = Counter("siwat_jpeg_encoded", "Frames encoded for the image route")
HANGING_READERS = Gauge(
    "siwat_hanging_readers", "Readers of cameras that hang in a library and were left behind"
)
RESTARTS = Counter("siwat_restarts", "Parts that were stuck or had died and were started anew", ["kind"])
FAILED_PARTS = Gauge("siwat_failed_parts", "Parts that have failed: their restarts are used up", ["kind"])
BUILD = Info("siwat_build", "Version and origin of the running code")

PARTS = (
    "delivery",
    "embedded",
    "loading",
    "model",
    "outbox writer",
    "pipeline",
    "reader",
    "thread pool",
    "usage",
    "watchdog",
)
"""Kinds of parts that can be started anew."""
DROPS = ("expired", "failed", "given_up", "outbox_full", "overloaded")
"""Why actions are dropped."""
REFUSALS = ("too_many", "wrong")
"""Why tokens are refused."""

# Prometheus sees no increase in a series that appears with what it counts: what alerts look at begins at 0.
for _kind in PARTS:
    RESTARTS.labels(_kind)
    FAILED_PARTS.labels(_kind)
for _reason in DROPS:
    OUTBOX_DROPPED.labels(_reason)
for _reason in REFUSALS:
    TOKENS_REFUSED.labels(_reason)
