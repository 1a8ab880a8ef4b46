"""Pull several messages out of a Redis queue in one round trip.

kombu pops a message and then, in another call, notes that it was delivered: a worker that dies in between loses it.
Here both are one step.
"""

from __future__ import annotations

import hashlib
import logging
import time
from functools import cache
from importlib.resources import files
from typing import Any

from kombu.utils.encoding import bytes_to_str
from redis import Redis
from redis.exceptions import NoPermissionError, NoScriptError

from .compat import delivered, expires, redis_keys

__all__ = ("pull",)

logger = logging.getLogger(__name__)


def pull(channel: Any, queue: str, most: int) -> list[Any]:
    """Return up to so many messages of a queue of kombu's Redis transport, in their order.

    A user of the broker's Redis who may run no scripts gets them one by one, as kombu does.
    """
    if expires(channel, queue) or not getattr(channel, "concurrency_scripts", True):
        return _one_by_one(channel, queue, most)
    keys = redis_keys(channel, queue)
    try:
        with channel.conn_or_acquire() as client:
            found = _run(client, len(keys), *keys, most, time.time())
    except NoPermissionError:
        logger.warning("concurrency: the broker's Redis refuses scripts: each message takes two more round trips")
        channel.concurrency_scripts = False
        return _one_by_one(channel, queue, most)
    messages = []
    for item, tag in zip(found[::2], found[1::2]):
        try:
            messages.append(delivered(channel, item, bytes_to_str(tag)))
        except Exception:
            logger.exception("concurrency: what was in queue %r is no message, and is dropped: %r", queue, item[:200])
            if tag:
                channel.basic_ack(bytes_to_str(tag))
    return messages


def _one_by_one(channel: Any, queue: str, most: int) -> list[Any]:
    messages: list[Any] = []
    while len(messages) < most:
        message = channel.basic_get(queue)
        if message is None:
            break
        messages.append(message)
    return messages


def _run(client: Any, *args: Any) -> Any:
    # Around kombu's own client class, which would put a prefix before some of the keys: they have it already.
    source, sha = _script()
    try:
        return Redis.execute_command(client, "EVALSHA", sha, *args)
    except NoScriptError:
        return Redis.execute_command(client, "EVAL", source, *args)


@cache
def _script() -> tuple[str, str]:
    source = files(__package__).joinpath("get.lua").read_text(encoding="utf-8")
    return source, hashlib.sha1(source.encode()).hexdigest()
