"""What tasks tell their worker about their slots, wherever they run: by a pipe, which cannot be late.

A task notes what it is about to do before it asks Redis for it. When its end is noticed, its notes are there: also
those of a process that was killed.
"""

from __future__ import annotations

import os
import select
import threading
from weakref import WeakSet, WeakValueDictionary

__all__ = ("Notes", "notes_of")

_MOST = 65536


class Notes:
    """The notes of one worker's tasks.

    Args:
        worker: As the semaphore knows it.
    """

    def __init__(self, worker: str) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._worker_pid = os.getpid()
        self._lock = threading.Lock()
        self._rest = b""
        self._away: set[str] = set()
        self._again: set[str] = set()
        self._untold = False
        _open.add(self)
        _by_worker[worker] = self

    # Called where the task runs.

    def given(self, token: str) -> None:
        """The task is about to give its slot back for a while."""
        self._tell("y", token)

    def untold(self, token: str) -> None:
        """Redis could not be told of that: the worker is to do it."""
        self._tell("u", token)

    def taken(self, token: str) -> None:
        """The task has its slot again."""
        self._tell("t", token)

    def _tell(self, word: str, token: str) -> None:
        note = f"{word}{token}\n".encode()  # so short that a pipe takes it in one piece, or not at all
        while self._write >= 0:
            try:
                os.write(self._write, note)
                return
            except BlockingIOError:  # thousands that nobody has read
                if self._read >= 0:
                    self.away()
                else:
                    select.select([], [self._write], [], 1.0)
            except OSError:
                return  # the worker is gone

    def orphaned(self) -> bool:
        """Say whether the worker that this process belongs to is gone."""
        return self._worker_pid not in (os.getpid(), os.getppid())

    # Called in the worker; by any thread.

    def away(self) -> frozenset[str]:
        """Return the tokens of the slots that tasks have given back and not taken again."""
        with self._lock:
            self._drain()
            return frozenset(self._away)

    def was_away(self, token: str) -> bool:
        """Say whether a task has given back its slot, and whether or not it has it again."""
        with self._lock:
            self._drain()
            return token in self._away or token in self._again

    def take_untold(self) -> bool:
        """Say whether there is something that Redis could not be told of, since the last time."""
        with self._lock:
            self._drain()
            untold, self._untold = self._untold, False
            return untold

    def forget(self, token: str) -> None:
        """A slot is held no more."""
        with self._lock:
            self._away.discard(token)
            self._again.discard(token)

    def _drain(self) -> None:
        try:
            while self._read >= 0:
                read = os.read(self._read, _MOST)
                if not read:
                    return
                *lines, self._rest = (self._rest + read).split(b"\n")
                for line in lines:
                    self._note(line[:1], line[1:].decode())
                if len(read) < _MOST:
                    return
        except BlockingIOError:
            pass

    def _note(self, word: bytes, token: str) -> None:
        if word == b"t":
            self._away.discard(token)
            self._again.add(token)
        else:
            self._away.add(token)
            self._untold = self._untold or word == b"u"

    def close(self) -> None:
        """The worker ends."""
        with self._lock:
            read, write, self._read, self._write = self._read, self._write, -1, -1
            for end in (read, write):
                if end >= 0:
                    os.close(end)
        _open.discard(self)

    def close_copy(self) -> None:
        """In a forked child: who reads is the worker alone."""
        self._lock = threading.Lock()
        read, self._read = self._read, -1
        if read >= 0:
            os.close(read)


_open: WeakSet[Notes] = WeakSet()
_by_worker: WeakValueDictionary[str, Notes] = WeakValueDictionary()


def notes_of(worker: str) -> Notes | None:
    """Return the notes of a worker that runs in this process, or that this process was forked from."""
    return _by_worker.get(worker)


def _after_fork() -> None:
    for notes in list(_open):
        notes.close_copy()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
