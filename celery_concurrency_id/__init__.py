"""Shared concurrency limits for plain Celery workers."""

from __future__ import annotations

from .control import Concurrency, Expected, Position
from .exceptions import (
    ConcurrencyError,
    InvalidControl,
    InvalidOption,
    InvalidSetting,
    QueueFullError,
    SemaphoreUnavailable,
    UnsupportedBroker,
)
from .plugin import install
from .task import QueuedTask

__all__ = (
    "Concurrency",
    "ConcurrencyError",
    "Expected",
    "InvalidControl",
    "InvalidOption",
    "InvalidSetting",
    "Position",
    "QueueFullError",
    "QueuedTask",
    "SemaphoreUnavailable",
    "UnsupportedBroker",
    "install",
)

__version__ = "0.1.0"
