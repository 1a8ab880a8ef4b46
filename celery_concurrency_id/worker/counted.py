"""Whether a worker counts for Prometheus: where nobody asked for that, nothing is imported, and nothing is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exceptions import InvalidSetting
from ..settings import Settings

if TYPE_CHECKING:
    from .figures import Figures

__all__ = ("figures_of",)


def figures_of(settings: Settings, worker: str) -> Figures | None:
    """Return what counts for a worker, or None where ``concurrency_metrics_port`` is not set.

    Args:
        worker: Its node name.

    Raises:
        InvalidSetting: The extra is not installed.
    """
    if settings.metrics_port is None:
        return None
    try:
        from .figures import Figures
    except ImportError as exc:
        expected = "prometheus-client to be installed: pip install 'celery-concurrency-id[metrics]'"
        raise InvalidSetting("concurrency_metrics_port", settings.metrics_port, expected) from exc
    return Figures(worker, settings.metrics_ids)
