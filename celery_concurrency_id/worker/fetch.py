"""Pull messages out of the dedicated queues, one at a time, on a channel of our own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Callable, NoReturn

from ..queues import DynamicQueue, counts_deliveries
from .compat import (
    GET_TIMEOUT,
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

logger = logging.getLogger(__name__)

#: Seconds for which a queue that was declared, and not found empty since, is taken to be there.
_TRUST = 1.0
#: The header in which quorum queues say how often a message was delivered before.
_DELIVERIES = "x-delivery-count"


class Fetcher:
    """One channel and the queues declared on it.

    Args:
        connection: The worker's own broker connection.
        queue_of: Returns the declared queue of an id.
        accept: Content types that messages may have.
        read: Whether the event loop reads the connection, so that replies come by themselves.
        copy: Publishes a copy of a message to the end of the queue of an id.
    """

    def __init__(
        self,
        connection: Any,
        queue_of: Callable[[str], Any],
        accept: Any,
        read: bool,
        copy: Callable[[Any, str], Any],
    ) -> None:
        self._read = read
        self._copy = copy
        self._connection = connection
        self._queue_of = queue_of
        self._accept = accept
        #: What the connection raises when the broker fails.
        self.errors = connection.connection_errors + connection.channel_errors
        self._channel_errors = connection.channel_errors
        self._queues: dict[str, Any] = {}
        self._failed: BrokerLost | None = None
        self._counting: dict[str, bool] = {}
        self._there_until: dict[str, float] = {}
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
            queue = self._declared(id)
            if self.lagging:
                now = monotonic()
                declare = self._there_until.get(id, 0.0) < now
                if declare:
                    self._there_until[id] = now + _TRUST
                begin_get(self._channel, queue, declare, lambda message: on_message(self._checked(id, message)))
                if not self._read:
                    settle_gets(self._channel, GET_TIMEOUT)
            else:
                on_message(self._checked(id, self._channel.basic_get(queue.name)))

    def waits(self, id: str) -> bool:
        """Say whether a message of an id is better waited for: it comes at once, or must not be left over."""
        return not self.lagging or not self._read or self.counts_deliveries(id)

    def counts_deliveries(self, id: str) -> bool:
        """Say whether the broker drops messages of an id that were put back too often."""
        counts = self._counting.get(id)
        if counts is None:
            counts = self._counting[id] = self.lagging and counts_deliveries(self._queue_of(id))
        return counts

    def settle(self, patience: float = GET_TIMEOUT) -> None:
        """Wait for the replies that have not come yet.

        Raises:
            BrokerLost: The broker failed.
        """
        if self.lagging:
            with self._failing_loudly():
                settle_gets(self._channel, patience)

    def _checked(self, id: str, message: Any) -> Any:
        if message is None:
            self._there_until.pop(id, None)
            return None
        message.accept = self._accept
        if self.lagging and _DELIVERIES in (message.headers or ()):
            # Quorum queues may be the default of a vhost, which no declaration says.
            self._counting[id] = True
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

    def put_back(self, id: str, message: Any) -> None:
        """Return a message to the head of its queue; to its end where the broker counts how often that happens.

        Raises:
            BrokerLost: The broker failed.
        """
        with self._failing_loudly():
            if self.counts_deliveries(id) and self._copied(id, message):
                message.ack()
            else:
                restore_at_front(message)

    def _copied(self, id: str, message: Any) -> bool:
        try:
            self._copy(message, id)
        except Exception:
            logger.exception("concurrency: a message of %r could not be copied; it goes back as it is", id)
            return False
        return True

    def close(self) -> None:
        """Close the channel; what is not acknowledged goes back to the broker."""
        try:
            self._channel.close()
        except Exception:  # the connection is gone, and the channel with it
            pass
