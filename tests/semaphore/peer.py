"""A worker as the semaphore sees it: what the real worker's link, mailbox and gate do, but one step at a time."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any

import redis

from celery_concurrency_id.exceptions import SemaphoreUnavailable
from celery_concurrency_id.semaphore import keys
from celery_concurrency_id.semaphore.client import Client
from celery_concurrency_id.semaphore.semaphore import Report, Semaphore
from celery_concurrency_id.semaphore.tasks import Holder, TaskVerbs
from semaphore.server import PREFIX, Server

#: What may go wrong with a call.
NEVER_SENT, REPLY_LOST = "never sent", "reply lost"


class TroubledClient(Client):
    """A client whose next call can be made to fail, and that takes the simulated server's run for the real one's."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.url, PREFIX)
        self._server = server
        self.trouble = ""

    def connect(self) -> None:
        super().connect()
        self.run, self.uptime_ms = self._server.run, self._server.uptime_ms

    def call(self, verb: str, *args: Any) -> Any:
        trouble, self.trouble = self.trouble, ""
        reply = super().call(verb, *args) if trouble != NEVER_SENT else None
        if trouble:
            self.close()
            raise SemaphoreUnavailable(trouble)
        return reply


class Mailbox:
    """A subscription that can be read, cut and restored at known moments."""

    def __init__(self, server: Server, worker: str) -> None:
        self._connection = redis.Redis.from_url(
            server.url, protocol=2, socket_timeout=5
        ).connection_pool.make_connection()
        self._channels = (keys.mailbox(PREFIX, worker), keys.everyone(PREFIX))
        self.listening = False

    def open(self) -> None:
        self._command("SUBSCRIBE", *self._channels)
        self.listening = True

    def cut(self) -> None:
        if self.listening:
            self._command("UNSUBSCRIBE", *self._channels)
            self.listening = False

    def read(self) -> list[str]:
        """Return what has come so far: everything that was published before a ping comes before its pong."""
        self._connection.send_command("PING")
        words = []
        while True:
            reply = self._connection.read_response()
            if reply[0] != b"message":
                return words
            words.append(reply[2].decode())

    def _command(self, *words: str) -> None:
        self._connection.send_command(*words)
        for _ in self._channels:
            while self._connection.read_response()[0] == b"message":
                pass

    def close(self) -> None:
        self._connection.disconnect()


@dataclass
class Work:
    """A slot that a worker holds, and the task it runs in it, if any."""

    id: str
    token: str
    seq: int
    keep: bool
    claimable: int
    ahead: bool
    task: str = ""
    retries: int = 0
    away: bool = False
    needs: str = ""


class Peer:
    """One worker process.

    Attributes:
        held: Slots it holds, by token; ``reports`` about them were not sent yet.
        leaving: Slots it has given back, by a report that was not sent yet.
        ahead: Tasks fetched ahead, by id.
        joined: Whether it believes that its lease stands.
        owes: Whether it was invited and has not called since; its call lets the next one be invited.
        seeking: Whether there may be work for it, for which it has not asked yet.
        seeks_at: When a recovery that it was told of is over, and it asks again; 0 for never.
        answered: When it last got an answer.
        heard_of: Ids made for calls that it knows of, and their families; ``untold`` where the semaphore may have lost
            them.
        silent: Those whose queues it is about to delete, with their marks, since ``silent_since``.
        retired: The same once it has, with an empty mark where it has not; it has not said so yet.
    """

    def __init__(
        self,
        name: str,
        fleet: str,
        limits: dict[str, int],
        server: Server,
        families: tuple[str, ...] = (),
        needs: dict[str, str] | None = None,
    ) -> None:
        self.name, self.fleet, self.limits, self.families, self.needs = name, fleet, limits, families, needs or {}
        self.client = TroubledClient(server)
        self.semaphore = Semaphore(self.client, name)
        self.tasks_client = TroubledClient(server)
        self.tasks = TaskVerbs(self.tasks_client)
        self.mailbox = Mailbox(server, name)
        self.held: dict[str, Work] = {}
        self.leaving: set[str] = set()
        self.reports: list[Report] = []
        self.sent: list[Report] = []
        self.mail: deque[str] = deque()
        self.ahead: dict[str, deque[tuple[str, int]]] = defaultdict(deque)
        self.heard_of: dict[str, str] = {}
        self.silent: list[tuple[str, str]] = []
        self.silent_since = 0
        self.retired: list[tuple[str, str]] = []
        self.alive = True
        self.joined = self.served = self.must_serve = self.adopts = self.untold = False
        self.owes = self.seeking = False
        self.seeks_at = self.answered = 0

    @property
    def at_rest(self) -> bool:
        """Whether it counts on an invitation: nothing is under way that would bring it more work."""
        return self.joined and not (self.owes or self.seeking or self.seeks_at)

    def lose_touch(self) -> None:
        """A call failed: nothing is certain until the next join."""
        self.joined = False

    def excluded(self) -> None:
        """The semaphore does not know it any more: its slots may be others' by now."""
        self.joined = False
        self.answered = 0

    def open_slots(self) -> list[Work]:
        return [work for work in self.held.values() if not work.task]

    def running(self) -> list[Work]:
        return [work for work in self.held.values() if work.task]

    def holder(self, work: Work) -> Holder:
        return Holder(self.name, work.id, work.token)

    def begin(self, work: Work, kind: str, task: str, retries: int) -> None:
        """Start a task in a slot, by ``start``, or ``resume`` where it was fetched ahead."""
        work.task, work.retries = task, retries
        self.reports.append(Report(kind, work.id, work.token, task, retries))

    def forget(self, work: Work, kind: str) -> None:
        """Give a slot back, by ``release`` or ``drop``."""
        del self.held[work.token]
        self.leaving.add(work.token)
        number = work.seq if kind == "drop" else 0
        self.reports.append(Report(kind, work.id, work.token, "", number))

    def close(self) -> None:
        self.alive = False
        self.mailbox.close()
        self.client.close()
        self.tasks.close()
