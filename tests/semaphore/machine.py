"""Random histories of a semaphore: hypothesis picks the steps, the world checks each of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from semaphore.peer import NEVER_SENT, REPLY_LOST, Peer
from semaphore.world import FLEETS, IDS, World

picks = st.integers(0, 1000)
ids = st.sampled_from(IDS)
fleets = st.sampled_from(sorted(FLEETS))
#: Mostly none.
troubles = st.sampled_from(["", "", "", "", "", NEVER_SENT, REPLY_LOST])
#: Between two calls; a beat; just over the recovery, the lease.
milliseconds = st.sampled_from([1, 100, 1100, 2100, 16_000])
MOST_WORKERS = 4


class SemaphoreMachine(RuleBasedStateMachine):
    """Workers of several fleets, producers, a broker, and everything that may happen to them."""

    redis_url: str

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.redis_url)

    def _peer(self, pick: int) -> Peer:
        alive = self.world.alive()
        return alive[pick % len(alive)]

    def _work(self, pick: int, running: bool) -> Any:
        found = [
            (peer, work) for peer in self.world.alive() for work in (peer.running() if running else peer.open_slots())
        ]
        return found[pick % len(found)] if found else None

    @initialize(first=fleets, second=fleets)
    def two_workers_start(self, first: str, second: str) -> None:
        self.world.start(first)
        self.world.start(second)

    # What happens all the time

    @rule(id=ids, announced=st.sampled_from(["now", "now", "now", "early", "late", "never"]), count=st.integers(1, 3))
    def publish(self, id: str, announced: str, count: int) -> None:
        for _ in range(count):
            self.world.publish(id, announced)

    @precondition(lambda self: self.world.late)
    @rule(pick=picks)
    def a_late_announcement_comes(self, pick: int) -> None:
        late = self.world.late
        self.world.announce(*late.pop(pick % len(late)))

    @precondition(lambda self: self.world.unseen)
    @rule()
    def messages_are_seen(self) -> None:
        self.world.show()

    @rule(id=ids, announced=st.sampled_from(["now", "late", "early"]))
    def more_work_than_slots(self, id: str, announced: str) -> None:
        for each in (announced, "now", "now"):
            self.world.publish(id, each)
        for peer in self.world.alive():
            self.world.turn(peer, want=3)

    @precondition(lambda self: self.world.alive())
    @rule(pick=picks, want=st.integers(0, 3), may_idle=st.booleans(), trouble=troubles)
    def turn(self, pick: int, want: int, may_idle: bool, trouble: str) -> None:
        self.world.turn(self._peer(pick), want, may_idle, trouble)

    @precondition(lambda self: self.world.alive())
    @rule(want=st.integers(1, 3))
    def all_acquire(self, want: int) -> None:
        for peer in self.world.alive():
            self.world.turn(peer, want)

    @precondition(lambda self: self._work(0, running=False))
    @rule(pick=picks, skip=st.booleans(), tell=st.booleans(), trouble=troubles)
    def fetch(self, pick: int, skip: bool, tell: bool, trouble: str) -> None:
        peer, work = self._work(pick, running=False)
        self.world.fetch(peer, work, skip)
        if tell:
            self.world.turn(peer, trouble=trouble)

    @rule()
    def all_fetch(self) -> None:
        for peer in self.world.alive():
            for work in peer.open_slots():
                self.world.fetch(peer, work)
            self.world.turn(peer)

    @precondition(lambda self: self._work(0, running=False))
    @rule(pick=picks)
    def give_back_unused(self, pick: int) -> None:
        peer, work = self._work(pick, running=False)
        peer.forget(work, "release")

    @precondition(lambda self: self._work(0, running=True))
    @rule(pick=picks, chain=st.booleans(), retry=st.booleans(), tell=st.booleans())
    def end(self, pick: int, chain: bool, retry: bool, tell: bool) -> None:
        peer, work = self._work(pick, running=True)
        self.world.end(peer, work, chain, retry)
        if tell:
            self.world.turn(peer)

    @precondition(lambda self: self._work(0, running=True))
    @rule(tell=st.booleans())
    def all_fetch_ahead(self, tell: bool) -> None:
        for peer in self.world.alive():
            for work in peer.running():
                self.world.fetch_ahead(peer, work)
            if tell:
                self.world.turn(peer)

    @precondition(lambda self: any(any(peer.ahead.values()) for peer in self.world.alive()))
    @rule(tell=st.booleans())
    def all_put_back(self, tell: bool) -> None:
        for peer in self.world.alive():
            self.world.put_back(peer)
            if tell:
                self.world.turn(peer)

    @precondition(lambda self: self.world.alive())
    @rule(pick=picks, lost=st.sampled_from([False, False, True]))
    def read_mail(self, pick: int, lost: bool) -> None:
        self.world.read_mail(self._peer(pick), lost)

    @precondition(lambda self: self.world.alive())
    @rule(pick=picks, look_up=st.booleans(), trouble=troubles)
    def beat(self, pick: int, look_up: bool, trouble: str) -> None:
        self.world.beat(self._peer(pick), look_up, trouble)

    @precondition(lambda self: len(self.world.alive()) > 1)
    @rule(pick=picks, seconds=st.sampled_from([2, 2, 16]), beating=st.booleans())
    def one_is_silent(self, pick: int, seconds: int, beating: bool) -> None:
        self.world.silence(self._peer(pick), seconds, beating)

    @rule(milliseconds=milliseconds)
    def time_passes(self, milliseconds: int) -> None:
        self.world.advance(milliseconds)

    # What happens to workers

    @precondition(lambda self: len(self.world.alive()) < MOST_WORKERS)
    @rule(fleet=fleets)
    def start(self, fleet: str) -> None:
        self.world.start(fleet)

    @precondition(lambda self: self.world.alive())
    @rule(pick=picks, orderly=st.booleans())
    def stop(self, pick: int, orderly: bool) -> None:
        (self.world.leave if orderly else self.world.kill)(self._peer(pick))

    @precondition(lambda self: self.world.alive())
    @rule(pick=picks, trouble=troubles, and_serve=st.booleans())
    def join_again(self, pick: int, trouble: str, and_serve: bool) -> None:
        self.world.join(self._peer(pick), trouble, and_serve)

    @precondition(lambda self: self.world.alive())
    @rule(pick=picks, listen=st.booleans())
    def mailbox_changes(self, pick: int, listen: bool) -> None:
        (self.world.listen if listen else self.world.cut)(self._peer(pick))

    @precondition(lambda self: any(peer.sent for peer in self.world.alive()))
    @rule(pick=picks)
    def repeat(self, pick: int) -> None:
        self.world.repeat(self._peer(pick))

    # What happens to the server

    @rule(event=st.sampled_from(["flush", "restart", "restart empty", "script flush"]), seldom=st.integers(0, 1))
    def server_trouble(self, event: str, seldom: int) -> None:
        if seldom:
            return
        if event == "flush":
            self.world.flush()
        elif event == "script flush":
            self.world.server.admin.script_flush()
        else:
            self.world.restart(keeps_data=event == "restart")

    def teardown(self) -> None:
        try:
            self.world.settle()
        finally:
            self.world.close()
