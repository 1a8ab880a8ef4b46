"""A producer's connection to the semaphore, with at most one reply outstanding."""

from __future__ import annotations

import logging
from typing import Any, Callable

from redis.exceptions import NoScriptError, ResponseError

from .connect import connect
from .scripts import load
from .semaphore import Known

__all__ = ("Line",)

logger = logging.getLogger(__name__)

#: Seconds that a call may be held up by a Redis that hangs.
_TIMEOUT = 0.5


class Line:
    """One connection.

    Args:
        unsaid: Gets the id, made for a call, of an announcement that was sent and may not have been heard.

    Raises:
        RedisError, OSError: From every call: the line is dead.
    """

    def __init__(self, url: str, key_prefix: str, options: dict[str, Any], unsaid: Callable[[Known], Any]) -> None:
        pool = connect(url, options, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT).connection_pool
        self._connection = pool.make_connection()
        self._prefix = key_prefix
        self._unsaid = unsaid
        self._sent: tuple[Any, ...] | None = None
        self._loaded = False

    def connect(self) -> None:
        """Only this asks the sentinels: a connection that connects because it has to send goes to its default host."""
        self._connection.connect()

    def send(self, *args: Any) -> None:
        """Announce a task; the reply is read before the next thing is said."""
        self.settle()
        self._sent = args
        script = load("announce")
        if self._loaded:
            self._connection.send_command("EVALSHA", script.sha, 1, self._prefix, *args)
        else:
            # The server may not know the script; a process that publishes once would never read that.
            self._connection.send_command("EVAL", script.source, 1, self._prefix, *args)
            self._loaded = True

    def settle(self) -> None:
        """Read the last reply; where the server did not know the script, say it again in full."""
        args = self._sent
        if args is None:
            return
        try:
            self._read("announce", args)
        except ResponseError as exc:
            self._tell_unsaid()
            logger.error("semaphore refuses an announcement: %s", exc)
        self._sent = None

    def call(self, verb: str, *args: Any) -> Any:
        """Run a verb's script and wait for its reply."""
        self.settle()
        self._connection.send_command("EVALSHA", load(verb).sha, 1, self._prefix, *args)
        return self._read(verb, args)

    def run(self) -> str:
        """Return the server's ``run_id``."""
        self.settle()
        self._connection.send_command("INFO", "server")
        info = self._connection.read_response()
        text = info.decode() if isinstance(info, bytes) else str(info)
        return next((line[7:] for line in text.splitlines() if line.startswith("run_id:")), "")

    def _read(self, verb: str, args: tuple[Any, ...]) -> Any:
        try:
            return self._connection.read_response()
        except NoScriptError:
            self._connection.send_command("EVAL", load(verb).source, 1, self._prefix, *args)
            return self._connection.read_response()

    def _tell_unsaid(self) -> None:
        args, self._sent = self._sent, None
        if args is not None and args[3]:
            self._unsaid(Known(args[0], args[3], args[4], args[6]))

    def close(self) -> None:
        """Drop the connection."""
        self._tell_unsaid()
        self._connection.disconnect()
