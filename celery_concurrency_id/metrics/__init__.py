"""Figures for Prometheus: how every limit is, and what each worker has seen. Needs the extra ``metrics``."""

from __future__ import annotations

from .cluster import ConcurrencyCollector

__all__ = ("ConcurrencyCollector",)
