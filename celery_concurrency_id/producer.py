"""Announce every task that is published to a dedicated queue."""

from __future__ import annotations

import hashlib
from typing import Any, Callable

from .policy import Policy

__all__ = ("announcing", "waiting_key")

#: Bytes.
_LONGEST_TASK_ID = 128
_MOST_RETRIES = 2**31 - 1


def waiting_key(task_id: Any, retries: Any) -> tuple[str, int]:
    """Return what the semaphore calls a waiting task: its id and its number of retries.

    Both come from messages, which may say anything: an id that is longer than any real one, or that cannot be encoded,
    becomes a digest, and retries that are no number of retries become 0.
    """
    text = str(task_id or "")
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) > _LONGEST_TASK_ID or any("\ud800" <= sign <= "\udfff" for sign in text):
        text = hashlib.sha1(raw).hexdigest()
    return text, retries if type(retries) is int and 0 <= retries <= _MOST_RETRIES else 0


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
        result = send(producer, name, message, *args, **kwargs)
        about = message.headers if "id" in message.headers else message.body
        announcer.announce(id, *waiting_key(about["id"], about.get("retries")))
        return result

    def send_dynamic(id: str, family: str, producer: Any, name: str, message: Any, *args: Any, **kwargs: Any) -> Any:
        """Send a task whose id was made for the call; workers have to learn of the id, and may delete its queue."""
        announcer, known = policy.announcer, policy.known(id, family)
        declared = None
        if announcer.knows(known):
            kwargs["declare"] = []
        else:
            declared = announcer.learn(known)
        result = send(producer, name, message, *args, **kwargs)
        if declared is not None:
            declared()
        about = message.headers if "id" in message.headers else message.body
        announcer.announce(id, *waiting_key(about["id"], about.get("retries")), *known[1:])
        return result

    return send_task_message
