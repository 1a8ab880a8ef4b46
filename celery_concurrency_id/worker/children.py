"""Learn of a pool process's death at once; Celery itself can take seconds."""

from __future__ import annotations

import os
import select
from typing import Any, Callable

from .compat import open_pid

__all__ = ("Children",)


class Children:
    """Watches pool processes through descriptors that become readable when a process dies.

    Where the system has none (before Linux 5.3, other systems), deaths are noticed when Celery notices them.
    """

    def __init__(self, on_death: Callable[[int], Any]) -> None:
        self._on_death = on_death
        self._poller = select.epoll() if hasattr(select, "epoll") else None
        self._watched: dict[int, int] = {}
        self._pids: dict[int, int] = {}

    def register(self, loop: Any) -> None:
        """Listen on the loop; anew after each loss of the broker."""
        if self._poller is not None:
            loop.add_reader(self._poller.fileno(), self._look)

    def watch(self, pid: int) -> None:
        """Call back when a process dies; once for each process, however often this is called."""
        if pid in self._watched or self._poller is None:
            return
        fd = open_pid(pid)
        if fd is None:
            return
        self._watched[pid] = fd
        self._pids[fd] = pid
        self._poller.register(fd, select.EPOLLIN)

    def _look(self) -> None:
        if self._poller is None:
            return
        for fd, _ in self._poller.poll(0):
            pid = self._pids.pop(fd)
            self._poller.unregister(fd)
            os.close(fd)
            del self._watched[pid]
            self._on_death(pid)

    def watches(self, pid: int | None) -> bool:
        """Say whether a process's death will be noticed here."""
        return pid in self._watched

    def close(self) -> None:
        """Watch no more."""
        if self._poller is not None:
            self._poller.close()
            for fd in self._pids:
                os.close(fd)
            self._poller = None
