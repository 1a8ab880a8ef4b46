"""Pull messages out of the dedicated queues, one at a time, on a channel of our own."""

from __future__ import annotations

from typing import Any, Callable

from .compat import basic_get, is_amqp, queue_lengths, restore_at_front, visibility_timeout
from .loop import BrokerLost

__all__ = ("Fetcher",)


class Fetcher:
    """One channel and the queues declared on it.

    Args:
        connection: The worker's own broker connection.
        queue_of: Returns the declared queue of an id.
        accept: Content types that messages may have.
    """

    def __init__(self, connection: Any, queue_of: Callable[[str], Any], accept: Any) -> None:
        self._connection = connection
        self._queue_of = queue_of
        self._accept = accept
        #: What the connection raises when the broker fails.
        self.errors = connection.connection_errors + connection.channel_errors
        self._channel_errors = connection.channel_errors
        self._queues: dict[str, Any] = {}
        self._channel = connection.channel()
        #: Whether a message can be announced a moment before it can be fetched.
        self.lagging = is_amqp(self._channel)
        #: How many queues' lengths are looked up at a time: one round trip each on AMQP, one for all on Redis.
        self.batch = 8 if self.lagging else 50
        #: Seconds after which the broker delivers an unacknowledged message again; None if it does not.
        self.visibility_timeout = visibility_timeout(self._channel)

    def get(self, id: str) -> Any:
        """Return the next message of an id, or None.

        Raises:
            BrokerLost: The broker failed.
        """
        try:
            message = basic_get(self._channel, self._declared(id))
        except self._channel_errors as exc:
            # The channel is gone, and what was fetched on it goes back to the broker: as if the connection were gone.
            raise BrokerLost from ConnectionError(f"channel of the queue {id!r}: {exc}")
        except self.errors as exc:
            raise BrokerLost from exc
        if message is not None:
            message.accept = self._accept
        return message

    def _declared(self, id: str) -> Any:
        queue = self._queues.get(id)
        if queue is None:
            queue = self._queues[id] = self._queue_of(id)(self._channel)
            queue.declare()
        return queue

    def lengths(self, ids: list[str]) -> dict[str, int]:
        """Return how many messages wait in the queue of each id.

        Raises:
            BrokerLost: The broker failed.
        """
        try:
            return queue_lengths(self._channel, [self._declared(id) for id in ids])
        except self.errors as exc:
            raise BrokerLost from exc

    def put_back(self, message: Any) -> None:
        """Return a message to the head of its queue."""
        try:
            restore_at_front(message)
        except self.errors as exc:
            raise BrokerLost from exc

    def close(self) -> None:
        """Close the channel; what is not acknowledged goes back to the broker."""
        try:
            self._channel.close()
        except Exception:  # the connection is gone, and the channel with it
            pass
