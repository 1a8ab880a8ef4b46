"""Announcements from producers: sent, not waited for."""

from __future__ import annotations

import atexit
import logging
import weakref
from collections.abc import Mapping
from functools import partial
from time import monotonic, sleep
from typing import Any, Callable

from redis.exceptions import RedisError, ResponseError

from . import keys
from .backlog import Backlog, Learnt
from .connect import redacted
from .line import Line
from .reach import Lines, Reach
from .semaphore import Known

__all__ = ("Announcer", "Silent")

logger = logging.getLogger(__name__)

#: Ids told at a time of those that Redis has not heard of.
_CHUNK = 500
#: Seconds that a publish waits while a worker deletes the queue of the id: longer than it may take.
_RETIRING = 4.0


class Announcer:
    """Tells the semaphore about published tasks; may be used by any thread, and after a fork.

    An announcement is a hint: one that is lost costs time until the workers' safety poll, never a task. So each is
    sent without waiting, its reply is read before the next one, and no error reaches the publisher. The safety poll
    must know the id, though: of one that is made for a call, Redis is told before its first task is published.

    Args:
        id_ttl: Seconds after which an id that was made for a call, and that nobody uses, is forgotten.
    """

    def __init__(
        self, url: str, namespace: str, options: Mapping[str, Any] | None = None, id_ttl: float = 3600.0
    ) -> None:
        self._url = url
        self._options = dict(options or {})
        self._prefix = keys.prefix(namespace)
        self._lines: Lines[Line] = Lines()
        self._reach = Reach()
        self._run: str | None = None
        self._learnt = Learnt(id_ttl / 2)
        self._backlog = Backlog()
        self._at_exit = False

    def announce(
        self, id: str, task: str, retries: int, family: str = "", limit: int = 0, kind: str = "", needs: str = ""
    ) -> None:
        """Say that a task was published to an id's queue; ``family``, ``limit``, ``needs``: of one made for it."""
        heard, _ = self._try(lambda line: line.send(id, task, retries, family, limit, kind, needs))
        if family and not heard:
            self._keep(Known(id, family, limit, needs))

    def knows(self, known: Known) -> bool:
        """Say whether Redis was told of an id lately, so that its queue exists and nobody is about to delete it."""
        return self._learnt.has(known)

    def learn(self, known: Known) -> Callable[[], Any]:
        """Tell Redis of an id made for a call, and wait until its queue may be declared.

        Returns:
            What to call once the queue was declared.
        """
        since = monotonic()
        heard, wait_ms = self._try(lambda line: self._learn(line, known))
        while heard and wait_ms and monotonic() - since < _RETIRING:
            sleep(min(wait_ms / 1000, 0.02))  # between two looks: a worker is about to delete the queue
            heard, wait_ms = self._try(lambda line: self._learn(line, known))
        if not heard:
            self._keep(known)
            return lambda: None
        return lambda: self._learnt.add(known, since)

    def _learn(self, line: Line, known: Known) -> Any:
        if self._run is None:
            self._run = line.run()
        return line.call("learn", *known)

    def _keep(self, *known: Known) -> None:
        self._backlog.add(known)
        if known and not self._at_exit:
            self._at_exit = True
            atexit.register(_say_last, weakref.ref(self))

    def _try(self, say: Callable[[Line], Any]) -> tuple[bool, Any]:
        """Say something; return whether that went well, and the reply."""
        if not self._reach.worth_a_try():
            return False, None
        try:
            reply = self._say(say)
            if self._backlog:
                self._say_backlog()
        except (RedisError, OSError) as exc:
            if self._reach.lost():
                logger.error(
                    "semaphore at %s cannot be reached (%s): tasks are published all the same, and start when a "
                    "worker's safety poll finds them",
                    redacted(self._url),
                    str(exc) or type(exc).__name__,
                )
            return False, None
        if self._reach.found():
            logger.warning("semaphore at %s is back", redacted(self._url))
        return True, reply

    def _say(self, say: Callable[[Line], Any]) -> Any:
        lines = self._lines.own
        while lines:
            line = lines.pop()
            try:
                reply = say(line)
            except ResponseError:
                lines.append(line)
                raise
            except (RedisError, OSError):
                # It may have died of idleness, or with a server that is back already: a new one tells.
                line.close()
            else:
                lines.append(line)
                return reply
        line = Line(self._url, self._prefix, self._options, self._keep)
        try:
            line.connect()
            self._compare(line)
            reply = say(line)
        except (RedisError, OSError):
            line.close()
            raise
        lines.append(line)
        return reply

    def _compare(self, line: Line) -> None:
        """Where this is another run of the server, it may know nothing of what the last one was told."""
        if not self._learnt:
            return
        run = line.run()
        if run != self._run:
            self._keep(*self._learnt.forget())
            self._run = run

    def _say_backlog(self) -> None:
        while self._backlog:
            chunk = self._backlog.take(_CHUNK)
            parts = [part for known in chunk for part in known]
            try:
                self._say(partial(_call_learn, parts))
            except (RedisError, OSError):
                self._backlog.add(chunk)
                raise

    def say_last(self) -> None:
        """The process ends: read the replies that are outstanding, and say once more what was not heard."""
        if self._lines.inherited:
            return
        lines = self._lines.own
        for line in list(lines):
            try:
                line.settle()
            except (RedisError, OSError):
                line.close()
                lines.remove(line)
        if self._backlog:
            try:
                self._say_backlog()
            except (RedisError, OSError) as exc:
                logger.error(
                    "semaphore at %s was not told of %d concurrency ids, since it cannot be reached (%s): their tasks "
                    "start when something else is published to these ids",
                    redacted(self._url),
                    len(self._backlog),
                    str(exc) or type(exc).__name__,
                )


def _call_learn(parts: list[Any], line: Line) -> Any:
    return line.call("learn", *parts)


def _say_last(announcer: weakref.ref[Announcer]) -> None:
    alive = announcer()
    if alive is not None:
        alive.say_last()


class Silent:
    """For a producer that knows the tasks, but not the Redis that holds the semaphore."""

    def announce(
        self, id: str, task: str, retries: int, family: str = "", limit: int = 0, kind: str = "", needs: str = ""
    ) -> None:
        """Say nothing."""

    def knows(self, known: Known) -> bool:
        """Nobody was told anything."""
        return False

    def learn(self, known: Known) -> Callable[[], Any]:
        """Tell nobody."""
        return lambda: None
