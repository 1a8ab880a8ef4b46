"""Tells early, and in words, that a server named by an environment variable does not answer."""

from __future__ import annotations

import redis
from celery import Celery

from demo.errors import DemoError


def check_servers(app: Celery) -> None:
    """Connect once to the broker and to the Redis of the slots.

    Raises:
        DemoError: one of them does not answer.
    """
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
    except Exception as error:  # each transport has errors of its own
        raise DemoError(f"no broker at CONCURRENCY_EXAMPLE_BROKER={app.conf.broker_url}: {error!r}") from error
    try:
        redis.Redis.from_url(app.conf.concurrency_url, socket_connect_timeout=5, socket_timeout=5).ping()
    except redis.RedisError as error:
        raise DemoError(f"no Redis at CONCURRENCY_EXAMPLE_REDIS={app.conf.concurrency_url}: {error!r}") from error
