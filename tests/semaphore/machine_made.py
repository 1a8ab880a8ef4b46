"""Random histories with ids that are made for calls as well."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from semaphore.machine import SemaphoreMachine
from semaphore.world import IDS, MADE
from semaphore.world_made import MakingWorld

made = st.sampled_from(sorted(MADE))


class MakingMachine(SemaphoreMachine):
    """What a ``SemaphoreMachine`` does, and producers who make ids."""

    world: MakingWorld

    def make_world(self) -> MakingWorld:
        return MakingWorld(self.redis_url)

    @rule(id=made, announced=st.sampled_from(["now", "now", "early", "late", "never"]))
    def make(self, id: str, announced: str) -> None:
        self.world.make(id, announced)

    @rule(id=made)
    def make_more_than_slots(self, id: str) -> None:
        for _ in range(3):
            self.world.make(id, "now")
        for peer in self.world.alive():
            self.world.turn(peer, want=2)

    @precondition(lambda self: self.world.delayed)
    @rule()
    def try_again(self) -> None:
        """What had to wait until it is known what becomes of a queue."""
        delayed, self.world.delayed = self.world.delayed, []
        for id, announced in delayed:
            self.world.make(id, announced)

    @rule(id=made, limit=st.sampled_from([0, 1, 2, 3]))
    def another_release_says_another_limit(self, id: str, limit: int) -> None:
        self.world.told[id] = self.world.told[id][0], limit

    @rule(id=st.sampled_from(IDS), seldom=st.integers(0, 3))
    def another_release_makes_an_id_that_some_task_always_has(self, id: str, seldom: int) -> None:
        if not seldom:
            told = self.world.told
            told[id] = ("tenant", 1)
            self.world.publish(id)
            del told[id]

    @precondition(lambda self: self.world.alive())
    @rule(seconds=st.sampled_from([2, 31, 61]), seldom=st.integers(0, 1))
    def nobody_uses_anything(self, seconds: int, seldom: int) -> None:
        """The workers beat meanwhile, and once more when there is time to look at the ids."""
        if not seldom:
            self.world.advance(1000 * seconds)
            for peer in self.world.alive():
                self.world.beat(peer, look_up=True)

    @precondition(lambda self: any(peer.silent for peer in self.world.alive()))
    @rule()
    def delete_queues(self) -> None:
        for peer in self.world.alive():
            self.world.delete_queues(peer)
