"""The consumer bootstep: starts and stops everything of ours with the worker."""

from __future__ import annotations

import hashlib
import logging
from typing import Any
from uuid import uuid4

from celery import bootsteps

from ..exceptions import UnsupportedBroker
from ..policy import policy_of
from ..queues import dedicated_queue
from ..semaphore.semaphore import semaphore
from . import checks, compat, inspect  # noqa: F401  # inspect: registers its command
from .children import Children
from .configured import gate_configured
from .events import SlotEvents
from .fetch import Fetcher
from .gate import Gate
from .link import Link
from .loop import HubLoop, ThreadLoop
from .lost import LostSlots
from .mailbox import Mailbox
from .parking import Parking
from .places import places_of
from .slot import Slot, State

__all__ = ("Concurrency",)

logger = logging.getLogger(__name__)

_TRANSPORTS = ("redis", "amqp")
#: Seconds between two batches of queue lengths, so that other work has its turn.
_PAUSE = 0.05


class Concurrency(bootsteps.StartStopStep):
    """Serves the dedicated queues of an app's gated tasks."""

    label = "Concurrency"
    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, c: Any, **kwargs: Any) -> None:
        super().__init__(c, **kwargs)
        policy = policy_of(c.app)
        gate_configured(c.app)
        self._ids: list[str] = c.app.amqp.queues.served()
        self._gate: Gate | None = None
        self._connection: Any = None
        self._closing = False
        c.concurrency = self
        if not self._ids:
            return
        transport = c.conninfo.transport.driver_type
        if transport not in _TRANSPORTS:
            raise UnsupportedBroker(transport, "Redis (also by Sentinel) or RabbitMQ as the broker")
        policy.check_routes()
        self._settings = policy.settings
        limits = {id: limit or 0 for id, limit in policy.limits().items() if id in set(self._ids)}
        worker = uuid4().hex
        self._loop: Any = HubLoop(c.hub) if c.hub is not None else ThreadLoop()
        self._mailbox = Mailbox(
            self._settings.url, self._settings.namespace, worker, self._mail, self._settings.options
        )
        self._link = Link(
            semaphore(self._settings.url, self._settings.namespace, worker, dict(self._settings.options)),
            c.hostname,
            _fleet(limits),
            limits,
            self._settings.lease_ttl,
            self._mailbox.listening.wait,
            self,
        )
        self._children = Children(self._child_died) if c.hub is not None else None
        original = c.on_task_request
        c.on_task_request = lambda request: self._start_request(request, original)

    @property
    def ids(self) -> list[str]:
        """The concurrency ids that this worker serves."""
        return self._ids

    def _start_request(self, request: Any, original: Any) -> None:
        if self._gate is None:
            original(request)
        else:
            self._gate.start(request, original)

    # The worker's life

    def start(self, c: Any) -> None:
        if not self._ids:
            return
        first = self._gate is None
        if self._gate is None:
            places = places_of(c.controller, self._loop)
            self._lost = LostSlots(c, self._settings.on_lease_lost == "terminate")
            self._gate = Gate(
                c.app,
                c.pool,
                self._loop,
                places,
                self._link,
                self._children,
                self._settings.fetch_ahead,
                self._lost,
                SlotEvents(c),
            )
            self._loop.start()
        connection = c.connection
        if c.hub is None:
            # Another thread reads the worker's own connection.
            connection = self._connection = c.app.connection_for_read(heartbeat=0)
            connection.ensure_connection()
        fetcher = Fetcher(connection, lambda id: dedicated_queue(c.app, id), c.task_consumer.accept, c.hub is not None)
        parking = Parking(c, self._loop, fetcher.visibility_timeout)
        self._loop.call_soon(self._gate.attach, fetcher, parking, c.create_task_handler())
        if first:
            checks.warn(policy_of(c.app), c.app, fetcher.visibility_timeout)
            self._mailbox.start()
            self._link.start()

    def register_with_event_loop(self, c: Any, hub: Any) -> None:
        """The hub runs; it forgets everybody whenever the broker is lost."""
        if self._gate is not None:
            self._loop.register()
            if self._children is not None:
                self._children.register(self._loop)

    def close(self, c: Any) -> None:
        self._closing = True
        if self._gate is not None:
            self._in_loop(self._gate.close)

    def stop(self, c: Any) -> None:
        if self._gate is None:
            return
        self._in_loop(self._gate.detach, lambda slot: self._dropped(c, slot))
        connection, self._connection = self._connection, None
        if connection is not None and not self._closing:
            connection.close()

    def terminate(self, c: Any) -> None:
        self.stop(c)

    def shutdown(self, c: Any) -> None:
        if self._gate is None:
            return
        self._link.stop()
        self._mailbox.stop()
        self._loop.stop()
        if self._children is not None:
            self._children.close()

    def _in_loop(self, call: Any, *args: Any) -> None:
        if self._loop.inside() or not isinstance(self._loop, ThreadLoop):
            call(*args)
        else:
            self._loop.call_soon(call, *args)

    @staticmethod
    def _dropped(c: Any, slot: Slot) -> bool:
        """Say whether Celery has dropped a slot's task when it lost the broker."""
        if slot.state is State.HELD:
            return True
        return compat.is_prefork(c.pool) and not compat.pool_job_alive(c.pool, slot.result)

    def info(self, c: Any) -> Any:
        """Return what ``celery inspect stats`` shows."""
        if self._gate is None:
            return {}
        told = {"served": len(self._ids), "slots": self._gate.slots, "slots_lost": self._lost.count}
        return {"concurrency": {**told, **self._link.counts}}

    # From the mailbox's thread, the link's thread and the pool

    def _mail(self, message: str) -> None:
        if message == "invite" and self._gate is not None:
            self._loop.call_soon(self._gate.invited)
        elif message == "rejoin":
            self._link.rejoin()

    def _child_died(self, pid: int) -> None:
        if self._gate is not None:
            self._gate.child_died(pid)

    def turned(self, turn: Any, want: int) -> None:
        """The semaphore has answered."""
        if self._gate is not None:
            self._loop.call_soon(self._gate.turned, turn, want)

    def joined(self, lost: frozenset[str], blind: bool) -> None:
        """The lease has begun, or begun anew; ``blind``: the semaphore may not know of all that waits."""
        if self._gate is not None:
            self._loop.call_soon(self._gate.joined, lost, self._link.joins)
            if blind:
                self._loop.call_soon(self._look_everywhere, 0)

    def at_rest(self) -> bool:
        """Say whether this worker counts on an invitation."""
        return self._gate is not None and self._gate.at_rest()

    def invited(self) -> None:
        """A heartbeat found work for this worker."""
        if self._gate is not None:
            self._loop.call_soon(self._gate.invited)

    def look_up(self, cursor: int) -> None:
        """It is this worker's turn to look for tasks that nobody announced."""
        self._loop.call_soon(self._look_up, cursor)

    def _look_up(self, cursor: int) -> None:
        gate = self._gate
        if gate is None or gate.fetcher is None:
            return
        batch = gate.fetcher.batch
        start = cursor * batch % len(self._ids)
        chosen = (self._ids + self._ids)[start : start + min(batch, len(self._ids))]
        self._link.tell_lengths(gate.fetcher.lengths(chosen))

    def _look_everywhere(self, cursor: int) -> None:
        gate = self._gate
        if gate is None or gate.fetcher is None or cursor * gate.fetcher.batch >= len(self._ids):
            return
        self._look_up(cursor)
        self._loop.call_later(_PAUSE, self._look_everywhere, cursor + 1)


def _fleet(limits: dict[str, int]) -> str:
    """Return the name of the set of workers that serve the same ids with the same limits."""
    return hashlib.sha1(repr(sorted(limits.items())).encode()).hexdigest()[:16]
