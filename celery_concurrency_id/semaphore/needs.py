"""What a task needs of several limits, as the scripts write it: ``"gpu 2 openai 1"``; nothing for most tasks."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ("NO_LANE", "pack", "unpack")

#: In place of that, where an id is not served, but its limit has to be known, since others need it.
NO_LANE = "-"


def pack(needs: Mapping[str, int]) -> str:
    """Write how many slots of each limit a task needs."""
    return " ".join(f"{limit} {weight}" for limit, weight in needs.items())


def unpack(needs: str) -> dict[str, int]:
    """Read how many slots of each limit a task needs."""
    words = needs.split()
    return {limit: int(weight) for limit, weight in zip(words[::2], words[1::2])}
