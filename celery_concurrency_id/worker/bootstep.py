"""The consumer bootstep: starts and stops everything of ours with the worker."""

from __future__ import annotations

import hashlib
import logging
from functools import partial
from math import inf
from typing import Any
from uuid import uuid4

from celery import bootsteps

from ..exceptions import UnsupportedBroker
from ..notes import Notes
from ..policy import policy_of
from ..queues import dedicated_queue, dynamic_queue
from ..semaphore.client import Client
from ..semaphore.needs import NO_LANE, unpack
from ..semaphore.semaphore import semaphore
from . import checks, commands, compat, inspect  # noqa: F401  # those two register commands
from .children import Children
from .configured import gate_configured
from .counted import figures_of
from .directory import Directory
from .events import SlotEvents
from .fetch import Fetcher
from .gate import Gate
from .link import Link
from .loop import HubLoop, ThreadLoop
from .lost import LostSlots
from .mailbox import Mailbox
from .move import Mover
from .parking import Parking
from .places import places_of
from .slot import Slot, State
from .tracing import trace_waiting

__all__ = ("Concurrency",)

logger = logging.getLogger(__name__)

_TRANSPORTS = ("redis", "amqp")
#: Seconds between two batches of queue lengths, so that other work has its turn.
_PAUSE = 0.05
#: Seconds after a heartbeat in which this worker may delete the queues of silent ids; the semaphore gives it a little
#: longer, in which no producer declares them.
_RETIRES = 1.5


class Concurrency(bootsteps.StartStopStep):
    """Serves the dedicated queues of an app's gated tasks."""

    label = "Concurrency"
    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, c: Any, **kwargs: Any) -> None:
        super().__init__(c, **kwargs)
        policy = policy_of(c.app)
        gate_configured(c.app)
        self._ids: list[str] = c.app.amqp.queues.served()
        families: list[str] = c.app.amqp.queues.served_families()
        self._serves = bool(self._ids or families)
        self._gate: Gate | None = None
        self._connection: Any = None
        self._closing = False
        c.concurrency = self
        if not self._serves:
            return
        transport = c.conninfo.transport.driver_type
        if transport not in _TRANSPORTS:
            raise UnsupportedBroker(transport, "Redis (also by Sentinel) or RabbitMQ as the broker")
        policy.check_routes()
        self._settings = policy.settings
        policy.check_needs()
        self._figures = figures_of(self._settings, c.hostname)
        trace_waiting()  # before the pool forks
        needs = {id: policy.needs_of(id) for id in [*self._ids, *families]}
        others = {limit for needed in needs.values() for limit in unpack(needed)} - set(self._ids)
        needs.update(dict.fromkeys(others, NO_LANE))
        limits = {id: policy.told(id) for id in policy.limits() if id in {*self._ids, *others}}
        worker = uuid4().hex
        self._directory = Directory(families, self._settings.id_ttl, policy.told, policy.needs_of)
        self._loop: Any = HubLoop(c.hub) if c.hub is not None else ThreadLoop()
        self._mailbox = Mailbox(
            self._settings.url, self._settings.namespace, worker, self._mail, self._settings.options
        )
        self._worker, self._notes = worker, Notes(worker)  # before the pool forks
        self._link = Link(
            semaphore(
                self._settings.url,
                self._settings.namespace,
                worker,
                dict(self._settings.options),
                Client if self._figures is None else self._figures.client,
            ),
            c.hostname,
            _fleet(limits, families),
            limits,
            self._settings.lease_ttl,
            self._mailbox.listening.wait,
            self,
            self._directory,
            self._notes,
            needs,
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
        if not self._serves:
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
                SlotEvents(c) if self._figures is None else self._figures.events(c),
            )
            self._gate.worker = self._worker
            self._loop.start()
        connection = c.connection
        if c.hub is None:
            # Another thread reads the worker's own connection.
            connection = self._connection = c.app.connection_for_read(heartbeat=0)
            connection.ensure_connection()
        fetcher = Fetcher(connection, partial(self._queue_of, c.app), c.task_consumer.accept, Mover(c.app).copy)
        self._directory.attach(fetcher.batch, fetcher.visibility_timeout)
        # A parked message must not outlast its queue, either.
        parking = Parking(c, self._loop, min(fetcher.visibility_timeout or inf, self._settings.id_ttl / 2))
        self._loop.call_soon(self._gate.attach, fetcher, parking, c.create_task_handler())
        if first:
            checks.warn(policy_of(c.app), c.app, fetcher.visibility_timeout)
            self._mailbox.start()
            self._link.start()
            if self._figures is not None:
                self._figures.serve(
                    self._settings.metrics_host, self._settings.metrics_port or 0, self._link, self._lost
                )

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
        if self._figures is not None:
            self._figures.close()
        self._loop.stop()
        self._notes.close()
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
        word, _, about = message.partition(" ")
        if word == "invite" and self._gate is not None:
            self._loop.call_soon(self._gate.invited)
        elif word == "rejoin":
            self._link.rejoin()
        elif word == "recall":
            self._link.recall(about)
        elif word == "released":
            self._link.released(about)

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
                self._loop.call_soon(self._look_everywhere, [*self._ids, *self._directory.ids()])

    def at_rest(self) -> bool:
        """Say whether this worker counts on an invitation."""
        return self._gate is not None and self._gate.at_rest()

    def invited(self) -> None:
        """A heartbeat found work for this worker."""
        if self._gate is not None:
            self._loop.call_soon(self._gate.invited)

    def recalled(self, id: str) -> None:
        """An operator lowered or paused an id."""
        if self._gate is not None:
            self._loop.call_soon(self._gate.recalled, id)

    def released(self, token: str) -> None:
        """An operator freed a slot of this worker."""
        if self._gate is not None:
            self._loop.call_soon(self._gate.released, token)

    def look_up(self, cursor: int, dynamic: list[str]) -> None:
        """It is this worker's turn to look for tasks that nobody announced.

        Args:
            dynamic: Ids made for calls; of the others, the cursor says which.
        """
        self._loop.call_soon(self._look_up, cursor, dynamic)

    def _look_up(self, cursor: int, dynamic: list[str]) -> None:
        gate, ids = self._gate, self._ids
        if gate is None or gate.fetcher is None:
            return
        batch = gate.fetcher.batch
        start = cursor * batch % max(len(ids), 1)
        self._look_at((ids + ids)[start : start + min(batch, len(ids))])
        self._look_at(dynamic)

    def _look_at(self, ids: list[str]) -> None:
        if ids and self._gate is not None and self._gate.fetcher is not None:
            self._link.tell_lengths(self._gate.fetcher.lengths(ids))

    def _look_everywhere(self, ids: list[str]) -> None:
        gate = self._gate
        if gate is None or gate.fetcher is None or not ids:
            return
        self._look_at(ids[: gate.fetcher.batch])
        self._loop.call_later(_PAUSE, self._look_everywhere, ids[gate.fetcher.batch :])

    def silent(self, marks: Any, since: float) -> None:
        """Nobody has used these ids for long; ``since``: the link's clock when it asked."""
        self._loop.call_soon(self._retire, dict(marks), since)

    def _retire(self, marks: dict[str, str], since: float) -> None:
        gate, gone = self._gate, set()
        if gate is not None and gate.fetcher is not None and self._link.age(since) < _RETIRES:
            gone = gate.fetcher.delete_empty(marks)
            self._directory.forget(gone)
        self._link.tell_retired([(id, mark if id in gone else "") for id, mark in marks.items()])

    def _queue_of(self, app: Any, id: str) -> Any:
        return (dedicated_queue if id in policy_of(app).gated else dynamic_queue)(app, id)


def _fleet(limits: dict[str, int], families: list[str]) -> str:
    """Return the name of the set of workers that serve the same ids with the same limits."""
    served = [sorted(limits.items()), *([families] if families else [])]
    return hashlib.sha1(repr(served).encode()).hexdigest()[:16]
