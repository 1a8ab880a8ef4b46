"""How many slots a worker asks for, and when: for the places it has, and for some beyond them."""

from __future__ import annotations

from typing import Any

from ..semaphore.semaphore import Turn
from .hand import Hand
from .reserve import Reserve

__all__ = ("Demand",)

#: Slots asked for in one call, so that none keeps Redis busy for long.
_MOST_AT_ONCE = 100


class Demand:
    """What a worker wants of the semaphore; one question at a time.

    Args:
        hand: The places in hand.
        link: The line to the semaphore.
        reserve: Says how many slots there may be beyond the places.

    Attributes:
        seeking: Whether there may be work that no slot was acquired for.
    """

    def __init__(self, hand: Hand, link: Any, reserve: Reserve) -> None:
        self._hand = hand
        self._link = link
        self._reserve = reserve
        self.seeking = False
        self._asking = False  # whether an answer is to come
        self._window = 1  # places to request at a time while there is more work than was acquired

    @property
    def pending(self) -> bool:
        """Whether something is under way that would bring more work."""
        return bool(self.seeking or self._asking or self._hand.requested)

    def look(self, slots: int) -> None:
        """Ask for slots for the places that are left, or give those back.

        Args:
            slots: How many stand open, and will have a place each.
        """
        hand = self._hand
        if not self.seeking or self._asking:
            hand.release(max(hand.free - slots, 0))
            return
        while hand.requested + hand.free - slots < self._window:
            hand.request()
        spare, reserve = hand.free - slots, self._reserve.size
        want = min(spare + reserve, _MOST_AT_ONCE)
        if 2 * want > reserve:
            hand.asked = max(min(spare, want), 0)
            self.seeking, self._asking = False, True
            self._link.ask(want)

    def answered(self, turn: Turn, want: int) -> None:
        """The semaphore has answered."""
        self._hand.asked, self._asking = 0, False
        self._reserve.heard(turn.ready)
        # An invitation that came while the answer was under way is not in that answer: go on seeking.
        self.seeking = self.seeking or len(turn.grants) == want
        self._window = min(2 * self._window, self._hand.places.size) if self.seeking else 1

    def forget(self) -> None:
        """The broker is lost, or the worker closes: what is to be answered is of no use."""
        self._asking = False
