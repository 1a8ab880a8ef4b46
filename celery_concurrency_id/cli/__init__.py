"""``celery concurrency``: every limit at a glance, and in an operator's hand.

Celery finds the group by the entry point ``celery.commands``, whatever command it runs. ``change`` imports
``worker.commands``, so that ``celery control`` and ``celery inspect`` know what workers understand.
"""

from __future__ import annotations

from .change import drain, pause, purge, release, reset, resume, set_
from .doctor import doctor
from .group import concurrency
from .look import list_, show, why
from .metrics import metrics
from .page import page
from .watch import watch

__all__ = ("concurrency",)

for _command in (list_, show, why, set_, reset, pause, resume, drain, purge, release, watch, doctor, metrics, page):
    concurrency.add_command(_command)
