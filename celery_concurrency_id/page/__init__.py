"""Every limit, live, on a page: a WSGI application to mount anywhere, or to run by ``celery concurrency page``."""

from __future__ import annotations

from .application import ConcurrencyPage

__all__ = ("ConcurrencyPage",)
