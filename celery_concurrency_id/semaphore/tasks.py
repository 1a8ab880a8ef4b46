"""What a running task asks of the semaphore: to give its slot back for a while, and to have it again.

The calls come from wherever the task runs: a pool's process, a thread, a greenlet. What each does on the server is told
in the header of its Lua file.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from . import keys
from .client import Client

__all__ = ("GONE", "HELD", "UNKNOWN", "WAITS", "Blocked", "Holder", "TaskVerbs", "tasks_line")

#: What becomes of a slot that is wanted again: it is held, the task waits for it, nobody will ever give it, or its
#: worker has yet to tell Redis of it.
HELD, WAITS, GONE, UNKNOWN = 1, 0, -1, -2


class Holder(NamedTuple):
    """A task's slot: the worker that answers for it, the concurrency id, and the token that names the slot."""

    worker: str
    id: str
    token: str


class Blocked(NamedTuple):
    """Whether a task that waits for others waits for itself: ``state`` as ``blocked.lua`` has it, the task that waits,
    and how many slots are held."""

    state: int
    task: str
    holders: int


class TaskVerbs:
    """One connection; belongs to one thread at a time.

    Raises:
        SemaphoreUnavailable: From every call, when Redis cannot be reached or refuses.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def give_back(self, holder: Holder) -> bool:
        """Give a slot back for a while; say whether the worker is known to hold it."""
        return int(self._client.call("yield", *holder)) == 1

    def take_again(self, holder: Holder, wait: bool) -> tuple[int, int]:
        """Take the slot again, or stand in the line for it; return what came of it, and a new fencing token."""
        self._client.connect()
        state, fence = self._client.call("retake", holder.worker, self._client.run, holder.id, holder.token, int(wait))
        return int(state), int(fence or 0)

    def wait(self, holder: Holder, seconds: float) -> bool:
        """Wait until the slot has come; say whether it has."""
        return self._client.wait_for(f"came:{holder.token}", seconds)

    def blocked(self, holder: Holder, tasks: Iterable[str], endless: bool) -> Blocked:
        """Say whether the tasks that this one waits for can only run once it ends."""
        state, task, holders = self._client.call("blocked", *holder, int(endless), *tasks)
        return Blocked(int(state), task.decode() if isinstance(task, bytes) else str(task), int(holders))

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()


_lines: dict[tuple[int, str, str], deque[TaskVerbs]] = {}


@contextmanager
def tasks_line(url: str, namespace: str, options: Mapping[str, Any] | None = None) -> Iterator[TaskVerbs]:
    """Lend a connection that stands, if there is one; whatever goes wrong meanwhile ends it."""
    idle = _lines.setdefault((os.getpid(), url, namespace), deque())
    try:
        line = idle.pop()
    except IndexError:
        line = TaskVerbs(Client(url, keys.prefix(namespace), dict(options or {})))
    try:
        yield line
    except BaseException:
        # A time limit may have come between a command and its reply, which nobody must take for that to the next.
        line.close()
        raise
    idle.append(line)
