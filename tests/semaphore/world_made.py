"""The world with ids that are made for calls: producers who tell of them, and queues that are deleted when silent."""

from __future__ import annotations

from celery_concurrency_id.semaphore.semaphore import Known
from semaphore.peer import Peer
from semaphore.server import PREFIX
from semaphore.world import IDS, MADE, World

#: Seconds of silence after which such an id is forgotten; a producer tells of it again after half of that.
ID_TTL = 60
#: How long after its heartbeat a worker may delete queues, in microseconds.
RETIRES_US = 1_500_000


class MakingWorld(World):
    """A queue of such an id is there from the first publish until a worker deletes it; what is published into a queue
    that is not there is lost."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.id_ttl = ID_TTL
        self.told = {id: (family, 1 + number % 2) for number, (id, family) in enumerate(MADE.items())}
        self.delayed: list[tuple[str, str]] = []
        self._declared: set[str] = set()
        self._learnt: dict[str, int] = {}

    # Producers

    def make(self, id: str, announced: str) -> None:
        """Publish a task of an id made for the call, unless its queue may be about to be deleted: then later."""
        if self._may_publish(id):
            self.publish(id, announced)
        else:
            self.delayed.append((id, announced))

    def publish(self, id: str, announced: str = "now", task: str = "", retries: int = 0) -> None:
        while id in MADE and not self._may_publish(id):
            self.advance(100)
        assert id not in MADE or id in self._declared, f"published into the queue of {id!r}, which was deleted"
        super().publish(id, announced, task, retries)

    def _may_publish(self, id: str) -> bool:
        """Whether the queue is there; a producer that has not told of the id lately does so, and declares it."""
        if self.server.now - self._learnt.get(id, 0) < ID_TTL * 500_000:
            return True
        since = self.server.now
        if self.learn(id):
            return False
        self._learnt[id] = since
        self._declared.add(id)
        return True

    def learn(self, id: str) -> int:
        """Tell of an id; return the milliseconds until its queue may be declared."""
        self.tick()
        known = Known(id, *self.told[id])
        wait_ms = int(self.producer.call("learn", *known))
        assert wait_ms == self.model.learn([known])
        self._check(called=True, may_exceed=True)  # a limit may have been lowered
        return wait_ms

    # Workers

    def delete_queues(self, peer: Peer) -> None:
        """A worker deletes the queues of silent ids that are empty, if it is not too late for that."""
        in_time = self.server.now - peer.silent_since < RETIRES_US
        for id, mark in peer.silent:
            gone = in_time and not self.queues[id]
            if gone:
                self._declared.discard(id)
                peer.heard_of.pop(id, None)
            peer.retired.append((id, mark if gone else ""))
        peer.silent = []

    # The end

    def settle(self) -> None:
        """Everything runs; then nobody uses an id for long, and nothing is left of those made for calls."""
        self.id_ttl = 0
        for id, announced in self.delayed:
            self.publish(id, announced)
        for id, task, retries in self.parked:
            self.publish(id, "now", task, retries)
        for id in MADE:
            self.pause(id, False)
            self.limit(id, None)
            if self.queues[id]:
                # Where Redis lost its data before any worker had heard of an id, the next publish tells.
                self.learn(id)
        super().settle()
        for id in MADE:
            # Places lapse by the server's own clock.
            self.server.admin.delete(f"{PREFIX}reserved:{id}")
            self.model.ids[id].reserved.clear()
        self.id_ttl = ID_TTL
        for _ in range(8):
            self.advance(ID_TTL * 500)
            for peer in self.alive():
                self.beat(peer)
                self.delete_queues(peer)
        left = {id: self.model.ids[id] for id in MADE if self.server.state().get(f"id:{id}")}
        assert not left and not self.model.directory.used, f"left of ids that nobody uses: {left}"


assert not set(IDS) & set(MADE)
