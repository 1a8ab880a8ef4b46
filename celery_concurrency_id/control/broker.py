"""What an operator needs of the broker: whether it is there, and an empty queue."""

from __future__ import annotations

from typing import Any

from kombu.exceptions import OperationalError

__all__ = ("broker_problem", "connected", "purged")


def connected(app: Any) -> Any:
    """Return a broker connection that stands.

    Raises:
        OperationalError: The broker cannot be reached.
    """
    connection = app.connection_for_write()
    try:
        return connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
    except BaseException:
        connection.release()
        raise


def broker_problem(app: Any) -> str | None:
    """Say what is wrong with the broker, without its password; None if it can be reached."""
    try:
        connection = connected(app)
    except OperationalError as exc:
        return f"the broker at {app.connection_for_write().as_uri()} cannot be reached ({exc}): is it running?"
    connection.release()
    return None


def purged(app: Any, queue: Any) -> int:
    """Delete what waits in a queue; return how many messages."""
    with connected(app) as connection:
        try:
            return int(connection.default_channel.queue_purge(queue.name) or 0)
        except connection.channel_errors:  # nobody has declared it yet
            return 0
