"""Shared concurrency limits for plain Celery workers."""

from __future__ import annotations

from .control import Concurrency, Expected, Position
from .exceptions import (
    CannotYield,
    ConcurrencyError,
    DeadlockError,
    InvalidControl,
    InvalidOption,
    InvalidSetting,
    QueueFullError,
    SemaphoreUnavailable,
    UnsupportedBroker,
)
from .plugin import install
from .task import QueuedTask
from .yielding import yield_slot

__all__ = (
    "CannotYield",
    "Concurrency",
    "ConcurrencyError",
    "DeadlockError",
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
    "yield_slot",
)

__version__ = "0.1.0"
