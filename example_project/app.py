"""The Celery application: an ordinary one, plus the Redis that counts the slots."""

from __future__ import annotations

import os

from celery import Celery

BROKER = os.environ.get("CONCURRENCY_EXAMPLE_BROKER", "redis://localhost:6379/0")

# With a Redis broker nothing more is needed. RabbitMQ needs a Redis beside it, for the slots (and here the results).
REDIS = os.environ.get(
    "CONCURRENCY_EXAMPLE_REDIS", BROKER if BROKER.startswith("redis") else "redis://localhost:6379/0"
)

app = Celery("gpu", broker=BROKER, backend=REDIS, include=["tasks"])
app.conf.concurrency_url = REDIS
