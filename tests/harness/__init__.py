"""The test harness: pytest-celery's nodes and setups over processes on free ports, and a judge of what ran.

Servers and workers are real ones. What happened is read from the log that the tasks write themselves (``truth``,
``sweep``), never from what Celery or the extension says about itself.
"""

from __future__ import annotations

from harness.waiting import wait

__all__ = ("wait",)
