"""Pull messages out of the dedicated queues, one at a time, on a channel of our own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Callable, NoReturn

from ..queues import DynamicQueue, counts_deliveries
from .compat import (
    delete_empty,
    get_amqp,
    is_amqp,
    prepare_gets,
    queue_lengths,
    restore_at_front,
    reuse_client,
    visibility_timeout,
)
from .loop import BrokerLost
from .pull import pull

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
        copy: Publishes a copy of a message to the end of the queue of an id.
    """

    def __init__(
        self,
        connection: Any,
        queue_of: Callable[[str], Any],
        accept: Any,
        copy: Callable[[Any, str], Any],
    ) -> None:
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

    def get(self, id: str, most: int = 1) -> list[Any]:
        """Return the next messages of an id, in their order.

        Raises:
            BrokerLost: The broker failed.
        """
        with self._failing_loudly():
            queue = self._declared(id)
            if not self.lagging:
                messages = pull(self._channel, queue.name, most)
            else:
                now = monotonic()
                declare = self._there_until.get(id, 0.0) < now
                if declare:
                    self._there_until[id] = now + _TRUST
                messages = get_amqp(self._channel, queue, declare, most)
                if len(messages) < most:
                    self._there_until.pop(id, None)
        for message in messages:
            self._prepare(id, message)
        return messages

    def counts_deliveries(self, id: str) -> bool:
        """Say whether the broker drops messages of an id that were put back too often."""
        counts = self._counting.get(id)
        if counts is None:
            counts = self._counting[id] = self.lagging and counts_deliveries(self._queue_of(id))
        return counts

    def _prepare(self, id: str, message: Any) -> None:
        message.accept = self._accept
        if self.lagging and _DELIVERIES in (message.headers or ()):
            # Quorum queues may be the default of a vhost, which no declaration says.
            self._counting[id] = True

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
                return queue(self._channel) if self.lagging else queue
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
