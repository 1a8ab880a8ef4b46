"""Celery's events of one kind, while a test runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery


@contextmanager
def events(app: Celery, kind: str) -> Iterator[list[dict[str, Any]]]:
    """While inside, collect the events of this kind."""
    seen: list[dict[str, Any]] = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={kind: seen.append})
        listening = threading.Event()
        receiver.on_consume_ready = lambda *args, **kwargs: listening.set()
        thread = threading.Thread(target=receiver.capture, kwargs={"wakeup": False}, daemon=True)
        thread.start()
        assert listening.wait(20), "events are listened to"
        try:
            yield seen
        finally:
            receiver.should_stop = True
            thread.join(20)
