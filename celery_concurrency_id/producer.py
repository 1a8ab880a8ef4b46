"""Announce every task that is published to a dedicated queue."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, Callable

from .policy import Policy
from .published import stamped

__all__ = ("announcing", "kind_of", "plain_name", "waiting_key")

#: Bytes.
_LONGEST_TASK_ID = 128
_MOST_RETRIES = 2**31 - 1
#: Bytes.
_LONGEST_NAME = 200


def waiting_key(task_id: Any, retries: Any) -> tuple[str, int]:
    """Return what the semaphore calls a waiting task: its id and its number of retries.

    Both come from messages, which may say anything: an id that is longer than any real one, or that cannot be encoded,
    becomes a digest, and retries that are no number of retries become 0.
    """
    text = str(task_id or "")
    if not (text.isascii() and len(text) <= _LONGEST_TASK_ID):
        text = _encodable(text)
    return text, retries if type(retries) is int and 0 <= retries <= _MOST_RETRIES else 0


def _encodable(text: str) -> str:
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) > _LONGEST_TASK_ID or any("\ud800" <= sign <= "\udfff" for sign in text):
        return hashlib.sha1(raw).hexdigest()
    return text


@lru_cache(maxsize=1000)
def _plain(name: str) -> str:
    raw = name.encode("utf-8", "surrogatepass")
    odd = len(raw) > _LONGEST_NAME or any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in name)
    return "" if odd else name


def plain_name(name: Any) -> str:
    """Return what the semaphore calls a task by its name; empty where that is nothing that a name can be."""
    return _plain(name) if type(name) is str else ""


def kind_of(name: Any, priority: Any) -> str:
    """Return what the semaphore has to know of a waiting task, so that others can be told when their turn comes."""
    number = str(priority) if type(priority) is int and 0 <= priority <= 255 else ""
    known = plain_name(name)
    return f"{number} {known}" if number or known else ""


def announcing(send: Callable[..., Any], policy: Policy) -> Callable[..., Any]:
    """Return a ``send_task_message`` that announces what it has sent to a dedicated queue.

    This is below ``apply_async``, ``send_task``, canvas, retries and beat alike, and, unlike the signal
    ``after_task_publish``, belongs to one app.
    """

    def send_task_message(producer: Any, name: str, message: Any, *args: Any, **kwargs: Any) -> Any:
        queue = kwargs.get("queue")
        id: Any = getattr(queue, "name", queue)
        if id not in policy.gated:
            family = policy.family_of(name, id, kwargs.get("headers"))
            if family is not None:
                return send_dynamic(id, family, producer, name, message, *args, **kwargs)
            return send(producer, name, message, *args, **kwargs)
        # Before the publish, so that a wrong setting is an error here and not a task that nobody announced.
        announcer = policy.announcer
        result = send(producer, name, message, *args, **stamped(kwargs))
        about = message.headers if "id" in message.headers else message.body
        kind = kind_of(name, kwargs.get("priority"))
        announcer.announce(id, *waiting_key(about["id"], about.get("retries")), kind=kind)
        return result

    def send_dynamic(id: str, family: str, producer: Any, name: str, message: Any, *args: Any, **kwargs: Any) -> Any:
        """Send a task whose id was made for the call; workers have to learn of the id, and may delete its queue."""
        announcer, known = policy.announcer, policy.known(id, family)
        declared = None
        if announcer.knows(known):
            kwargs["declare"] = []
        else:
            declared = announcer.learn(known)
        result = send(producer, name, message, *args, **stamped(kwargs))
        if declared is not None:
            declared()
        about = message.headers if "id" in message.headers else message.body
        key, kind = waiting_key(about["id"], about.get("retries")), kind_of(name, kwargs.get("priority"))
        announcer.announce(id, *key, known.family, known.limit, kind, known.needs)
        return result

    return send_task_message
