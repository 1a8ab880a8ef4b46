"""Invitations: one pub/sub connection a worker, whose being there also says that the worker is alive."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from time import monotonic
from typing import Any, Callable
from weakref import WeakSet

from redis.exceptions import RedisError

from ..semaphore import keys
from ..semaphore.connect import connect

__all__ = ("Mailbox",)

logger = logging.getLogger(__name__)

#: Seconds without any message after which the connection is tested, the longest wait for one message, and the longest
#: for the answer to the test.
_PING_AFTER = 20.0
_PATIENCE = 1.0
_ANSWER = 5.0
#: Seconds between tries to connect again.
_RETRY = 0.2


class Mailbox:
    """Listens for what the scripts publish to one worker and to all.

    Args:
        on_message: Called in the mailbox's thread with what was published (see ``keys.py``), and with ``"recall"``
            whenever it begins to listen.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        worker: str,
        on_message: Callable[[str], Any],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        prefix = keys.prefix(namespace)
        self._channels = (keys.mailbox(prefix, worker), keys.everyone(prefix))
        self._client = connect(url, dict(options or {}))
        self._on_message = on_message
        self._stopped = threading.Event()
        self._pubsub: Any = None
        #: Set while the connection stands.
        self.listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="concurrency-mailbox", daemon=True)

    def start(self) -> None:
        """Start listening."""
        _open.add(self)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, within a second; nothing has to wait for that."""
        self._stopped.set()
        _open.discard(self)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except (RedisError, OSError) as exc:
                logger.debug("concurrency: the mailbox lost its connection: %s", exc)
            except Exception:
                logger.exception("concurrency: the mailbox failed; this is a bug")
            finally:
                self.listening.clear()
                self._close()
            self._stopped.wait(_RETRY)

    def _listen(self) -> None:
        self._pubsub = self._client.pubsub()
        self._pubsub.subscribe(*self._channels)
        heard, pinged, subscribed = monotonic(), False, 0
        while not self._stopped.is_set():
            message = self._pubsub.get_message(timeout=_PATIENCE)
            if message is not None:
                heard, pinged = monotonic(), False
                if message["type"] == "subscribe":
                    subscribed += 1
                    if subscribed == len(self._channels):
                        self.listening.set()
                        # What was recalled before that went to nobody.
                        self._on_message("recall")
                elif message["type"] == "message":
                    self._on_message(message["data"].decode())
            elif pinged and monotonic() - heard > _PING_AFTER + _ANSWER:
                raise OSError("no answer")
            elif not pinged and monotonic() - heard > _PING_AFTER:
                self._pubsub.ping()
                pinged = True

    def _close(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            try:
                pubsub.close()
            except (RedisError, OSError):
                pass

    def close_copy(self) -> None:
        """In a forked child: let go of the inherited connection, which would keep a dead worker alive."""
        connection = getattr(self._pubsub, "connection", None)
        if connection is not None:
            connection.disconnect()


_open: WeakSet[Mailbox] = WeakSet()


def _after_fork() -> None:
    for mailbox in list(_open):
        mailbox.close_copy()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
