"""Random histories of a semaphore: hypothesis picks the steps, the world checks each of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from semaphore.peer import NEVER_SENT, REPLY_LOST, Peer
from semaphore.world import FLEETS, IDS, LANE_IDS, World

picks = st.integers(0, 1000)
ids = st.sampled_from(IDS)
fleets = st.sampled_from(sorted(FLEETS))
#: What goes wrong with a call: mostly nothing.
troubles = st.sampled_from(["", "", "", "", "", NEVER_SENT, REPLY_LOST])
MOST_WORKERS = 4


class SemaphoreMachine(RuleBasedStateMachine):
    """Workers of several fleets, producers, a broker, and everything that may happen to them.

    Work is what most steps are about; of all that may break, something does in some of them. Otherwise no history
    would come as far as a task that was fetched ahead.
    """

    redis_url: str

    def __init__(self) -> None:
        super().__init__()
        self.world = self.make_world()

    def make_world(self) -> World:
        return World(self.redis_url)

    def _peer(self, pick: int) -> Peer:
        alive = self.world.alive()
        return alive[pick % len(alive)]

    def _work(self, pick: int, running: bool) -> Any:
        found = [
            (peer, work) for peer in self.world.alive() for work in (peer.running() if running else peer.open_slots())
        ]
        return found[pick % len(found)] if found else None

    def _away(self) -> list[Any]:
        return [(peer, work) for peer in self.world.alive() for work in peer.running() if work.away]

    @initialize(first=fleets, second=fleets)
    def two_workers_start(self, first: str, second: str) -> None:
        self.world.start(first)
        self.world.start(second)

    # Producers and the broker

    @rule(id=ids, announced=st.sampled_from(["now", "now", "now", "early", "late", "never"]))
    def publish(self, id: str, announced: str) -> None:
        self.world.publish(id, announced)

    @rule(id=ids, announced=st.sampled_from(["now", "late", "early"]))
    def more_work_than_slots(self, id: str, announced: str) -> None:
        for each in (announced, "now", "now"):
            self.world.publish(id, each)
        for peer in self.world.alive():
            self.world.turn(peer, want=2)

    @rule(id=ids, most=st.integers(1, 4), twice=st.booleans())
    def reserve(self, id: str, most: int, twice: bool) -> None:
        self.world.reserve(id, most, twice)

    @precondition(lambda self: self.world.reserved)
    @rule(pick=picks, announced=st.sampled_from(["now", "now", "early", "late", "never", "", "dies"]))
    def use_a_place(self, pick: int, announced: str) -> None:
        """Publish into a place that was taken; or the publish fails; or the producer dies before."""
        number = pick % len(self.world.reserved)
        if announced == "dies":
            self.world.reserved.pop(number)
        elif announced:
            self.world.use_place(number, announced)
        else:
            self.world.cancel_place(number)

    @precondition(lambda self: self.world.late)
    @rule(pick=picks)
    def a_late_announcement_comes(self, pick: int) -> None:
        late = self.world.late
        self.world.announce(*late.pop(pick % len(late)))

    @precondition(lambda self: self.world.unseen)
    @rule()
    def messages_are_seen(self) -> None:
        self.world.show()

    # Workers at work, one of them

    @precondition(lambda self: self.world.alive())
    @rule(pick=picks, want=st.integers(0, 3), may_idle=st.booleans(), trouble=troubles)
    def turn(self, pick: int, want: int, may_idle: bool, trouble: str) -> None:
        self.world.turn(self._peer(pick), want, may_idle, trouble)

    @precondition(lambda self: self._work(0, running=False))
    @rule(pick=picks, instead=st.sampled_from(["", "", "skip", "skip", "park"]), tell=st.booleans(), trouble=troubles)
    def fetch(self, pick: int, instead: str, tell: bool, trouble: str) -> None:
        peer, work = self._work(pick, running=False)
        self.world.fetch(peer, work, instead)
        if tell:
            self.world.turn(peer, trouble=trouble)

    @precondition(lambda self: self.world.parked)
    @rule(pick=picks)
    def a_task_is_due(self, pick: int) -> None:
        """A copy of its message goes to the end of its queue."""
        parked = self.world.parked
        id, task, retries = parked.pop(pick % len(parked))
        self.world.publish(id, "now", task, retries)

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
    @rule(pick=picks, trouble=troubles)
    def give_back(self, pick: int, trouble: str) -> None:
        peer, work = self._work(pick, running=True)
        self.world.give_back(peer, work, trouble)

    @precondition(lambda self: self._away())
    @rule(pick=picks, wait=st.sampled_from([True, True, False]), trouble=troubles)
    def take_again(self, pick: int, wait: bool, trouble: str) -> None:
        away = self._away()
        self.world.take_again(*away[pick % len(away)], wait, trouble)

    @precondition(lambda self: any(peer.mail for peer in self.world.alive()))
    @rule(pick=picks, lost=st.sampled_from([False, False, True]))
    def read_mail(self, pick: int, lost: bool) -> None:
        peers = [peer for peer in self.world.alive() if peer.mail]
        self.world.read_mail(peers[pick % len(peers)], lost)

    @precondition(lambda self: self.world.alive())
    @rule(pick=picks, look_up=st.booleans(), trouble=troubles)
    def beat(self, pick: int, look_up: bool, trouble: str) -> None:
        self.world.beat(self._peer(pick), look_up, trouble)

    # Workers at work, all of them

    @precondition(lambda self: self.world.alive())
    @rule(want=st.integers(1, 3))
    def all_acquire_and_fetch(self, want: int) -> None:
        for peer in self.world.alive():
            self.world.turn(peer, want)
            for work in peer.open_slots():
                self.world.fetch(peer, work)
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

    @precondition(lambda self: self._work(0, running=True))
    @rule(tell=st.booleans())
    def all_end(self, tell: bool) -> None:
        for peer in self.world.alive():
            for work in peer.running():
                self.world.end(peer, work)
            if tell:
                self.world.turn(peer)

    # An operator

    @rule(
        id=ids,
        pick=picks,
        event=st.sampled_from(["raise", "lower", "unlimited", "for a time", "reset", "pause", "resume", "look"]),
        seldom=st.integers(0, 1),
    )
    def operator(self, id: str, pick: int, event: str, seldom: int) -> None:
        if seldom:
            return
        held = [work.id for peer in self.world.alive() for work in peer.held.values()]
        if held and event != "resume":
            id = held[pick % len(held)]  # a change that matters at once
        if event in ("pause", "resume"):
            self.world.pause(id, event == "pause")
        elif event == "look":
            self.world.look()
        else:
            limits = {"raise": 3, "lower": 1, "unlimited": 0, "for a time": 1, "reset": None}
            self.world.limit(id, limits[event], 1500 if event == "for a time" else 0)

    @precondition(lambda self: any(peer.held for peer in self.world.alive()))
    @rule(pick=picks, seldom=st.integers(0, 3))
    def operator_frees_a_slot(self, pick: int, seldom: int) -> None:
        held = [(peer, work) for peer in self.world.alive() for work in peer.held.values()]
        if not seldom:
            self.world.free_by_hand(*held[pick % len(held)])

    # Time and trouble

    @rule(milliseconds=st.sampled_from([1, 100, 1100]))
    def time_passes(self, milliseconds: int) -> None:
        self.world.advance(milliseconds)

    @rule(milliseconds=st.sampled_from([2100, 16_000]), seldom=st.integers(0, 2))
    def nobody_is_heard(self, milliseconds: int, seldom: int) -> None:
        """For longer than a recovery, or than any lease."""
        if not seldom:
            self.world.advance(milliseconds)

    @precondition(lambda self: len(self.world.alive()) > 1)
    @rule(pick=picks, seconds=st.sampled_from([2, 2, 16]), beating=st.booleans(), seldom=st.integers(0, 1))
    def one_is_not_heard(self, pick: int, seconds: int, beating: bool, seldom: int) -> None:
        if not seldom:
            self.world.silence(self._peer(pick), seconds, beating)

    @precondition(lambda self: len(self.world.alive()) < MOST_WORKERS)
    @rule(fleet=fleets, data_lost=st.sampled_from([False, False, False, True]))
    def start(self, fleet: str, data_lost: bool) -> None:
        """Start a worker; its ``join`` and its ``serve`` are two calls, and the data may be lost between them."""
        peer = self.world.start(fleet, and_serve=not data_lost)
        if data_lost:
            self.world.flush()
            self.world.serve(peer)

    @precondition(lambda self: self.world.alive())
    @rule(
        event=st.sampled_from(["leave", "kill", "cut", "listen", "join", "join only", "join lost", "repeat"]),
        pick=picks,
    )
    def worker_trouble(self, event: str, pick: int) -> None:
        world, peer = self.world, self._peer(pick)
        if event == "leave":
            world.leave(peer)
        elif event == "kill":
            world.kill(peer)
        elif event == "cut":
            world.cut(peer)
        elif event == "listen":
            world.listen(peer)
        elif event == "repeat":
            world.repeat(peer)
        else:
            world.join(peer, REPLY_LOST if event == "join lost" else "", and_serve=event != "join only")

    @rule(event=st.sampled_from(["flush", "restart", "restart empty", "script flush"]), seldom=st.integers(0, 3))
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


lane_ids = st.sampled_from(LANE_IDS)


class LaneMachine(SemaphoreMachine):
    """The same where many tasks need several slots at once."""

    def make_world(self) -> World:
        return World(self.redis_url, lanes=True)

    @rule(id=lane_ids, announced=st.sampled_from(["now", "now", "now", "early", "late", "never"]))
    def publish(self, id: str, announced: str) -> None:
        self.world.publish(id, announced)

    @rule(id=lane_ids, other=lane_ids, announced=st.sampled_from(["now", "late", "early"]))
    def more_work_than_slots(self, id: str, other: str, announced: str) -> None:
        for each, how in ((id, announced), (other, "now"), (id, "now"), (other, "now")):
            self.world.publish(each, how)
        for peer in self.world.alive():
            self.world.turn(peer, want=2)

    @rule(id=lane_ids, most=st.integers(1, 4), twice=st.booleans())
    def reserve(self, id: str, most: int, twice: bool) -> None:
        self.world.reserve(id, most, twice)

    @rule(
        id=lane_ids,
        pick=picks,
        event=st.sampled_from(["raise", "lower", "unlimited", "for a time", "reset", "pause", "resume", "look"]),
        seldom=st.integers(0, 1),
    )
    def operator(self, id: str, pick: int, event: str, seldom: int) -> None:
        super().operator(id, pick, event, seldom)
