"""The daemon's instruments and the state of its namespaces in Prometheus's text format."""

from collections import Counter as Tally
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from sharedrt.aio.metrics import Counter, Histogram, HistogramSample, instruments
from sharedrt.model.records import ContainerRecord
from sharedrt.services.contracts import Runtime

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class _Collector(Collector):
    """Reads at scrape time: nothing is kept twice."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def collect(self) -> Iterator[Metric]:
        host = self._runtime.host
        yield _gauge(
            "sharedrt_build_info",
            "This daemon's version.",
            ("version", "revision"),
            {(host.version, host.git_commit): 1},
        )
        yield from self._namespaces()
        for instrument in instruments():
            if isinstance(instrument, Counter):
                yield _counter(instrument)
            else:
                yield _histogram(instrument)

    def _namespaces(self) -> Iterator[Metric]:
        containers: Tally[tuple[str, ...]] = Tally()
        pods: Tally[tuple[str, ...]] = Tally()
        images: dict[tuple[str, ...], float] = {}
        for namespace in self._runtime.all_namespaces.names():
            here = self._runtime.within(namespace)
            containers.update((namespace, state_of(r)) for r in here.containers.list())
            pods.update((namespace, pod.state.value) for pod in here.pods.list())
            images[(namespace,)] = len(here.images.list())
        yield _gauge(
            "sharedrt_containers", "Containers by state.", ("namespace", "state"), containers
        )
        yield _gauge("sharedrt_pods", "Pods by state.", ("namespace", "state"), pods)
        yield _gauge("sharedrt_images", "Images.", ("namespace",), images)


def state_of(record: ContainerRecord) -> str:
    """The word for people: a paused container's state is running."""
    return "paused" if record.paused else record.state.value


def make_registry(runtime: Runtime) -> CollectorRegistry:
    """All that /metrics shows: our own figures and the process's (memory, CPU, open files)."""
    registry = CollectorRegistry()
    registry.register(_Collector(runtime))
    ProcessCollector(registry=registry)
    return registry


def render(registry: CollectorRegistry) -> bytes:
    return generate_latest(registry)


def _gauge(
    name: str,
    help: str,
    labels: tuple[str, ...],
    values: "dict[tuple[str, ...], float] | Tally[tuple[str, ...]]",
) -> Metric:
    family = GaugeMetricFamily(name, help, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _counter(instrument: Counter) -> Metric:
    family = CounterMetricFamily(instrument.name, instrument.help, labels=instrument.labels)
    for labels, value in instrument.samples():
        family.add_metric(labels, value)
    return family


def _histogram(instrument: Histogram) -> Metric:
    family = HistogramMetricFamily(instrument.name, instrument.help, labels=instrument.labels)
    for sample in instrument.samples():
        family.add_metric(sample.labels, _cumulative(instrument, sample), sample.total)
    return family


def _cumulative(instrument: Histogram, sample: HistogramSample) -> list[tuple[str, float]]:
    """Prometheus counts in each bucket all that is not above its bound."""
    buckets: list[tuple[str, float]] = []
    below = 0
    bounds = (*(repr(bound) for bound in instrument.buckets), "+Inf")
    for bound, count in zip(bounds, sample.counts, strict=True):
        below += count
        buckets.append((bound, below))
    return buckets
