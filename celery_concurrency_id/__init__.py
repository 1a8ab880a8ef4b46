"""Shared concurrency limits for plain Celery workers."""

from __future__ import annotations

from .exceptions import (
    ConcurrencyError,
    InvalidOption,
    InvalidSetting,
    QueueFullError,
    SemaphoreUnavailable,
    UnsupportedBroker,
)
from .plugin import install
from .task import QueuedTask

__all__ = (
    "ConcurrencyError",
    "InvalidOption",
    "InvalidSetting",
    "QueueFullError",
    "QueuedTask",
    "SemaphoreUnavailable",
    "UnsupportedBroker",
    "install",
)

__version__ = "0.1.0"
