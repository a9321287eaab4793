"""The worker's state as Prometheus series, read when somebody asks for them: what `metrics.py` counts is
moved where it happens, what holds at this moment stands here."""

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from siwatsystem.worker import Worker


class WorkerState(Collector):
    """Of one worker; read on the event loop, as the worker's parts live there. Touches no disk."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All series; a subscription's end with it."""
        outbox = self._worker.engine.status()
        yield from self._subscriptions()
        yield from _of_servers(outbox["servers"])
        yield _single("siwat_outbox_bytes", "Bytes of the actions on disk", outbox["bytes"])
        yield _single("siwat_outbox_pending", "Events in memory that are not on disk yet", outbox["pending"])
        yield _single("siwat_outbox_refused", "Actions that a server refused for good", outbox["failed"])
        yield self._usage()

    def _subscriptions(self) -> Iterator[GaugeMetricFamily]:
        online = GaugeMetricFamily(
            "siwat_subscription_online",
            "1 while fresh frames arrive and the pipeline is loaded; the source is the one of the series of "
            "sources",
            labels=["subscription", "source"],
        )
        for subscription in self._worker.subscriptions.all():
            loop = self._worker.loop_of(subscription.identifier)
            source = "" if loop is None else loop.source.spec.label
            online.add_metric(
                [subscription.identifier, source], float(self._worker.online(subscription.identifier))
            )
        yield online
        waiting = (one for one in self._worker.loader.all() if one.pipeline is None)
        yield _single("siwat_models_preparing", "Archives that are not loaded (yet)", sum(1 for _ in waiting))

    def _usage(self) -> GaugeMetricFamily:
        usage = self._worker.usage
        family = GaugeMetricFamily(
            "siwat_usage_percent", "How busy the machine is, as state reports tell it", labels=["resource"]
        )
        for resource in ("cpu", "memory", "gpu", "gpu_memory"):
            percent = getattr(usage, resource)
            if percent is not None:
                family.add_metric([resource], percent)
        return family


def _of_servers(servers: list[dict[str, Any]]) -> Iterator[GaugeMetricFamily]:
    up = GaugeMetricFamily("siwat_sink_up", "0 while a server takes no actions", labels=["server"])
    waiting = GaugeMetricFamily("siwat_sink_waiting", "Actions that wait for a server", labels=["server"])
    oldest = GaugeMetricFamily(
        "siwat_sink_oldest_seconds", "How long the oldest action has waited for a server", labels=["server"]
    )
    # Several archives may name one server, each with a user of its own.
    places = {one["server"] for one in servers}
    for place in sorted(places):
        alike = [one for one in servers if one["server"] == place]
        up.add_metric([place], float(all(one["error"] is None for one in alike)))
        waiting.add_metric([place], float(sum(one["waiting"] for one in alike)))
        oldest.add_metric([place], max(one["oldestSec"] for one in alike))
    yield from (up, waiting, oldest)


def _single(name: str, words: str, value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words)
    family.add_metric([], float(value))
    return family
