"""Runs the scripts on one Redis connection, and knows which run of the server it talks to."""

from __future__ import annotations

from typing import Any

from redis.exceptions import NoScriptError, RedisError

from ..exceptions import SemaphoreUnavailable
from .connect import connect
from .scripts import load

__all__ = ("Client",)


class Client:
    """One connection to the semaphore's Redis; belongs to one thread.

    It holds the connection itself instead of a pool, since a pool reconnects unseen: to a server that restarted
    meanwhile, whose state must not be taken for what it was.

    Args:
        timeout: Seconds for a connection to be made and for a command to be answered, where not the usual ones.

    Attributes:
        run: The server's ``run_id``: another one means that the server restarted, or that another server took over.
        uptime_ms: Milliseconds that the server had been up when this connection was made.
    """

    def __init__(
        self, url: str, key_prefix: str, options: dict[str, Any] | None = None, timeout: float | None = None
    ) -> None:
        patience = {} if timeout is None else {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        self._connection = connect(url, options, **patience).connection_pool.make_connection()
        self._prefix = key_prefix
        self._connected = False
        self.run = ""
        self.uptime_ms = 0

    def connect(self) -> None:
        """Connect where there is no connection, and learn which run of the server this is.

        Raises:
            SemaphoreUnavailable: The server cannot be reached.
        """
        if self._connected:
            return
        try:
            self._connection.connect()
            info = _fields(self._execute("INFO", "server"))
            self.run, self.uptime_ms = info["run_id"], int(info["uptime_in_seconds"]) * 1000
            self._connected = True
        except (RedisError, OSError) as exc:
            raise self._failed("connect", exc) from exc

    def call(self, verb: str, *args: Any) -> Any:
        """Run a verb's script.

        A call whose reply is lost is not repeated: it may have taken effect.

        Raises:
            SemaphoreUnavailable: The server cannot be reached or refuses the script.
        """
        self.connect()
        script = load(verb)
        try:
            try:
                return self._execute("EVALSHA", script.sha, 1, self._prefix, *args)
            except NoScriptError:
                return self._execute("EVAL", script.source, 1, self._prefix, *args)
        except (RedisError, OSError) as exc:
            raise self._failed(verb, exc) from exc

    def _execute(self, *command: Any) -> Any:
        self._connection.send_command(*command)
        return self._connection.read_response()

    def _failed(self, verb: str, exc: Exception) -> SemaphoreUnavailable:
        self.close()
        return SemaphoreUnavailable(f"{verb}: {str(exc) or type(exc).__name__}")

    def close(self) -> None:
        """Drop the connection; the next call makes a new one."""
        self._connected = False
        self._connection.disconnect()


def _fields(info: Any) -> dict[str, str]:
    text = info.decode() if isinstance(info, bytes) else str(info)
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
