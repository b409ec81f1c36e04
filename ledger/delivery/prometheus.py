"""Figures in the text format of Prometheus, by its own library."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.errors import NotReady, UsageError
from ledger.query.metrics import Metric

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


def as_text(found: Iterable[Metric]) -> str:
    """Return figures as text.

    Raises
    ------
    UsageError
        If the library is not installed.
    """
    registry = _registry(found)
    from prometheus_client import generate_latest  # noqa: PLC0415

    return generate_latest(registry).decode()


def write(found: Iterable[Metric], path: Path) -> None:
    """Write figures to a file, which is replaced as a whole: a reader never sees half of it.

    Raises
    ------
    UsageError
        If the library is not installed.
    NotReady
        If the file cannot be written.
    """
    registry = _registry(found)
    from prometheus_client import write_to_textfile  # noqa: PLC0415

    try:
        write_to_textfile(str(path), registry)
    except OSError as exc:
        raise NotReady(f"{path}: cannot be written ({exc.strerror or exc}); correct the path, or its owner") from exc


def _registry(found: Iterable[Metric]) -> "CollectorRegistry":
    try:
        from prometheus_client import CollectorRegistry  # noqa: PLC0415
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415
    except ImportError as exc:
        raise UsageError(
            "prometheus_client is not installed; expected it for figures: pip install 'ledger[metrics]'"
        ) from exc

    class Collector:
        def collect(self) -> Iterator[Any]:
            for metric in found:
                family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
                for labels, value in metric.values.items():
                    family.add_metric(labels, value)
                yield family

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return registry
