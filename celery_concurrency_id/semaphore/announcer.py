"""Announcements from producers: sent, not waited for."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Mapping
from time import monotonic
from typing import Any

from redis.exceptions import NoScriptError, RedisError, ResponseError

from . import keys
from .connect import connect, redacted
from .scripts import load

__all__ = ("Announcer", "Silent")

logger = logging.getLogger(__name__)

#: Seconds that a publish may be held up by a Redis that hangs, once in each ``_PAUSE``.
_TIMEOUT = 0.5
#: Seconds without a new try after one has failed.
_PAUSE = 1.0


class Announcer:
    """Tells the semaphore about published tasks; may be used by any thread, and after a fork.

    An announcement is a hint: one that is lost costs time until the workers' safety poll, never a task. So each is
    sent without waiting, its reply is read before the next one, and no error reaches the publisher.
    """

    def __init__(self, url: str, namespace: str, options: Mapping[str, Any] | None = None) -> None:
        self._url = url
        self._options = dict(options or {})
        self._prefix = keys.prefix(namespace)
        self._lines: deque[_Line] = deque()
        self._pid = os.getpid()
        self._quiet_until = 0.0
        self._away = False

    def announce(self, id: str, task: str, retries: int) -> None:
        """Say that a task was published to an id's queue."""
        if self._away and monotonic() < self._quiet_until:
            return
        if self._pid != os.getpid():
            self._lines, self._pid = deque(), os.getpid()
        try:
            self._say(id, task, retries)
        except (RedisError, OSError) as exc:
            self._quiet_until = monotonic() + _PAUSE
            if not self._away:
                self._away = True
                logger.error(
                    "semaphore at %s cannot be reached (%s): tasks are published all the same, and start when a "
                    "worker's safety poll finds them",
                    redacted(self._url),
                    exc or type(exc).__name__,
                )
        else:
            if self._away:
                self._away = False
                logger.warning("semaphore at %s is back", redacted(self._url))

    def _say(self, *args: Any) -> None:
        while self._lines:
            line = self._lines.pop()
            try:
                line.send(*args)
            except (RedisError, OSError):
                # It may have died of idleness, or with a server that is back already: a new one tells.
                line.close()
            else:
                self._lines.append(line)
                return
        line = _Line(self._url, self._prefix, self._options)
        try:
            line.connect()
            line.send(*args)
        except (RedisError, OSError):
            line.close()
            raise
        self._lines.append(line)


class Silent:
    """For a producer that knows the tasks, but not the Redis that holds the semaphore."""

    def announce(self, id: str, task: str, retries: int) -> None:
        """Say nothing."""


class _Line:
    """One connection, with at most one reply outstanding."""

    def __init__(self, url: str, key_prefix: str, options: dict[str, Any]) -> None:
        pool = connect(url, options, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT).connection_pool
        self._connection = pool.make_connection()
        self._prefix = key_prefix
        self._sent: tuple[Any, ...] | None = None

    def connect(self) -> None:
        """Only this asks the sentinels: a connection that connects because it has to send goes to its default host."""
        self._connection.connect()
        # Otherwise the first announcement to a new server would be heard with the second one.
        self._connection.send_command("SCRIPT", "LOAD", load("announce").source)
        try:
            self._connection.read_response()
        except ResponseError:  # not allowed to
            pass

    def send(self, *args: Any) -> None:
        self._settle()
        self._sent = args
        self._connection.send_command("EVALSHA", load("announce").sha, 1, self._prefix, *args)

    def _settle(self) -> None:
        """Read the last reply; where the server did not know the script, say it again in full."""
        args, self._sent = self._sent, None
        if args is None:
            return
        try:
            self._connection.read_response()
        except NoScriptError:
            self._connection.send_command("EVAL", load("announce").source, 1, self._prefix, *args)
            self._connection.read_response()
        except ResponseError as exc:
            logger.error("semaphore refuses an announcement: %s", exc)

    def close(self) -> None:
        self._connection.disconnect()
