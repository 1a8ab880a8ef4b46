"""Pull messages out of the dedicated queues, one at a time, on a channel of our own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Callable, NoReturn

from ..queues import DynamicQueue
from .compat import (
    begin_get,
    delete_empty,
    is_amqp,
    prepare_gets,
    queue_lengths,
    restore_at_front,
    reuse_client,
    settle_gets,
    visibility_timeout,
)
from .loop import BrokerLost

__all__ = ("Fetcher",)


class Fetcher:
    """One channel and the queues declared on it.

    Args:
        connection: The worker's own broker connection.
        queue_of: Returns the declared queue of an id.
        accept: Content types that messages may have.
        read: Whether the event loop reads the connection, so that replies come by themselves.
    """

    def __init__(self, connection: Any, queue_of: Callable[[str], Any], accept: Any, read: bool) -> None:
        self._read = read
        self._connection = connection
        self._queue_of = queue_of
        self._accept = accept
        #: What the connection raises when the broker fails.
        self.errors = connection.connection_errors + connection.channel_errors
        self._channel_errors = connection.channel_errors
        self._queues: dict[str, Any] = {}
        self._failed: BrokerLost | None = None
        self._channel = reuse_client(connection.channel())
        #: Whether a message can be announced a moment before it can be fetched.
        self.lagging = is_amqp(self._channel)
        if self.lagging:
            prepare_gets(self._channel)
        #: How many queues' lengths are looked up at a time: one round trip each on AMQP, one for all on Redis.
        self.batch = 8 if self.lagging else 50
        #: Seconds after which the broker delivers an unacknowledged message again; None if it does not.
        self.visibility_timeout = visibility_timeout(self._channel)

    def get(self, id: str) -> Any:
        """Return the next message of an id, or None.

        Raises:
            BrokerLost: The broker failed.
        """
        got: list[Any] = []
        self.get_soon(id, got.append)
        self.settle()
        return got[0]

    def get_soon(self, id: str, on_message: Callable[[Any], Any]) -> None:
        """Fetch the next message of an id; the callback gets it, or None, now or when the broker's reply comes.

        Raises:
            BrokerLost: The broker failed.
        """
        with self._failing_loudly():
            if self.lagging:
                begin_get(self._channel, self._declared(id), lambda message: on_message(self._checked(message)))
                if not self._read:
                    settle_gets(self._channel)
            else:
                on_message(self._checked(self._channel.basic_get(self._declared(id).name)))

    def settle(self) -> None:
        """Wait for the replies that have not come yet.

        Raises:
            BrokerLost: The broker failed.
        """
        if self.lagging:
            with self._failing_loudly():
                settle_gets(self._channel)

    def _checked(self, message: Any) -> Any:
        if message is not None:
            message.accept = self._accept
        return message

    @contextmanager
    def _failing_loudly(self) -> Iterator[None]:
        if self._failed is not None:
            # Who comes before Celery has seen to it must not wait for a time-out again.
            raise BrokerLost from self._failed.__cause__
        try:
            yield
        except self._channel_errors as exc:
            # The channel is gone, and what was fetched on it goes back to the broker: as if the connection were gone.
            self._fail(ConnectionError(f"the channel of the dedicated queues was closed: {exc}"))
        except self.errors as exc:
            self._fail(exc)

    def _fail(self, cause: BaseException) -> NoReturn:
        self._failed = BrokerLost()
        raise self._failed from cause

    def _declared(self, id: str) -> Any:
        queue = self._queues.get(id)
        if queue is None:
            queue = self._queue_of(id)
            if isinstance(queue, DynamicQueue):
                # Ids come and go. It has no exchange, and what is asked of it on AMQP declares it first.
                return queue(self._channel)
            queue = self._queues[id] = queue(self._channel)
            queue.declare()
        return queue

    def lengths(self, ids: list[str]) -> dict[str, int]:
        """Return how many messages wait in the queue of each id.

        Raises:
            BrokerLost: The broker failed.
        """
        with self._failing_loudly():
            return queue_lengths(self._channel, [self._declared(id) for id in ids])

    def delete_empty(self, ids: Iterable[str]) -> set[str]:
        """Delete the queues of ids that were made for calls, where they are empty; return the ids without a queue."""
        if self.lagging:
            return delete_empty(self._connection, list(ids))
        return {id for id, length in self.lengths(list(ids)).items() if not length}  # an empty list is no key

    def put_back(self, message: Any) -> None:
        """Return a message to the head of its queue."""
        with self._failing_loudly():
            restore_at_front(message)

    def close(self) -> None:
        """Close the channel; what is not acknowledged goes back to the broker."""
        try:
            self._channel.close()
        except Exception:  # the connection is gone, and the channel with it
            pass
