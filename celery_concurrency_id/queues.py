"""The dedicated queues: ordinary durable broker queues, named like their ids, that no worker consumes."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from typing import Any, Callable

from celery.app.amqp import Queues
from kombu import Exchange, Queue

__all__ = ("DedicatedQueues", "DynamicQueue", "counts_deliveries", "dedicated_queue", "dynamic_queue", "turn_of")


#: kombu's ``priority_steps``: its Redis transport keeps one list for each, the lowest first.
_REDIS_STEPS = (0, 3, 6, 9)


class DynamicQueue(Queue):
    """The queue of an id that was made for a call: bound to nothing, so that nothing is left when it is gone."""

    #: A connection would remember it for ever, and believe that it still exists.
    can_cache_declaration = False

    def named(self, id: str) -> DynamicQueue:
        """Return the same queue under another name: to make one from its arguments takes far longer."""
        queue = object.__new__(type(self))
        queue.__dict__.update(self.__dict__)
        queue.name = queue.routing_key = id
        return queue


def dynamic_queue(app: Any, id: str) -> Queue:
    """Return the queue of an id that was made for a call: as ``dedicated_queue``, but not bound to an exchange."""
    queues = app.amqp.queues
    if dict.__contains__(queues, id):
        return dedicated_queue(app, id)
    if queues.dynamic is None:
        arguments = dedicated_queue(app, id).queue_arguments
        queues.dynamic = DynamicQueue(id, Exchange(""), id, queue_arguments=arguments)
    made: Queue = queues.dynamic.named(id)
    return made


def dedicated_queue(app: Any, id: str) -> Queue:
    """Return the queue of a concurrency id.

    It is the one that the user declared in ``task_queues`` under that name, with its arguments, else one as Celery
    makes missing queues. It is never registered with the app: Celery 5.6 and older consume all that is registered.
    """
    queues = app.amqp.queues
    if dict.__contains__(queues, id):
        declared: Queue = dict.__getitem__(queues, id)
        return declared
    queue: Queue = queues.new_missing(id)
    if queue.exchange.type != "direct":
        # Celery would have RabbitMQ delay tasks with a countdown, by an exchange to which it binds only queues that are
        # registered; they would be lost. A worker keeps them until they are due.
        queue.exchange, queue.routing_key = Exchange(""), id
    if queues.max_priority is not None:
        queue.queue_arguments = {"x-max-priority": queues.max_priority, **(queue.queue_arguments or {})}
    return queue


def counts_deliveries(queue: Queue) -> bool:
    """Say whether a queue counts how often a message was delivered, and drops it after too many times.

    Quorum queues do: where ``x-delivery-limit`` or a policy says so, and from RabbitMQ 4 on always, after 20 times.
    """
    return bool((queue.queue_arguments or {}).get("x-queue-type") == "quorum")


def turn_of(app: Any, id: str) -> Callable[[int | None], int] | None:
    """Return what makes of a message's priority its turn in an id's queue: lower ones come first. None where the
    broker goes by the order of publishing, or in its own way: quorum queues mix two priorities."""
    connection = app.connection_for_read()
    transport = connection.transport.driver_type
    if transport == "redis":
        steps = sorted(connection.transport_options.get("priority_steps") or _REDIS_STEPS)
        return lambda priority: bisect(steps, min(priority or 0, 9))
    queue = dedicated_queue(app, id)
    arguments = queue.queue_arguments or {}
    most = arguments.get("x-max-priority", getattr(queue, "max_priority", None))
    if transport == "amqp" and most and not counts_deliveries(queue):
        return lambda priority: -min(priority or 0, most)
    return None


class DedicatedQueues(Queues):
    """Celery's queues, where ``-Q`` and ``-X`` of a dedicated queue choose what is served instead of consumed.

    Attributes:
        gated: Returns the ids that have dedicated queues.
        families: Returns the names of the families of ids that are made for each call.
        dynamic: A queue of an id that was made for a call: all others are like it.
    """

    gated: Callable[[], Iterable[str]] = tuple
    families: Callable[[], Iterable[str]] = tuple
    dynamic: DynamicQueue | None = None
    _chosen: frozenset[str] | None = None
    _excluded: frozenset[str] = frozenset()

    def select(self, include: Any) -> None:
        names = _names(include)
        if names:
            self._chosen = frozenset(names)
        super().select(names)

    def deselect(self, exclude: Any) -> None:
        names = _names(exclude)
        self._excluded |= frozenset(names)
        chosen = self._chosen
        super().deselect(names)  # up to 5.6 this selects all the others, which nobody chose
        self._chosen = chosen

    def keys(self) -> Any:
        """Every queue there is, for ``celery purge`` among others."""
        return set(super().keys()) | set(self.gated())

    @property
    def consume_from(self) -> dict[str, Queue]:
        """What a worker consumes: never a dedicated queue."""
        gated = {*self.gated(), *self.families()}
        return {name: queue for name, queue in super().consume_from.items() if name not in gated}

    def served(self) -> list[str]:
        """Return the ids that a worker with these options serves, in order."""
        return self._of(self.gated())

    def served_families(self) -> list[str]:
        """Return the families of ids that it serves, in order."""
        return self._of(self.families())

    def _of(self, names: Iterable[str]) -> list[str]:
        return sorted(
            name for name in set(names) if (self._chosen is None or name in self._chosen) and name not in self._excluded
        )


def _names(queues: Any) -> list[str]:
    if queues is None:
        return []
    return [queues] if isinstance(queues, str) else list(queues)
