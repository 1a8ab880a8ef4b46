"""Other ways to a limit on plain Celery, as they are found in the field; what `compare` measures."""

from __future__ import annotations

import time
from typing import Any, Callable

import redis

#: Seconds: what users write. Shorter costs more, longer leaves slots open.
RETRY_AFTER = 1.0
LOOK_EVERY = 0.05
#: Seconds until the lock of a task that died is free: more than any task takes, as the recipe has it.
EXPIRE = 600

Work = Callable[..., None]


class Locks:
    """As many locks as the limit says, each a key with an expiry, as in Celery's task cookbook."""

    def __init__(self, name: str, limit: int, url: str) -> None:
        self._keys = [f"lock:{name}:{number}" for number in range(limit)]
        self._client = redis.Redis.from_url(url)  # connects in the pool process that first uses it

    def take(self) -> str | None:
        return next((key for key in self._keys if self._client.set(key, 1, nx=True, ex=EXPIRE)), None)

    def give_back(self, key: str) -> None:
        self._client.delete(key)


def retry(work: Work, locks: Locks) -> Callable[..., None]:
    """Without a lock, the task is published anew for a second later, as often as it takes."""
    # Celery's default is to give up, and fail the task, after three times.

    def run(self: Any, *args: Any, **kwargs: Any) -> None:
        key = locks.take()
        if key is None:
            raise self.retry(countdown=RETRY_AFTER)
        try:
            work(*args, **kwargs)
        finally:
            locks.give_back(key)

    return run


def blocking(work: Work, locks: Locks) -> Callable[..., None]:
    """Without a lock, the task waits in its pool process."""

    def run(self: Any, *args: Any, **kwargs: Any) -> None:
        while (key := locks.take()) is None:
            time.sleep(LOOK_EVERY)  # this is the recipe
        try:
            work(*args, **kwargs)
        finally:
            locks.give_back(key)

    return run


RECIPES = {"retry": retry, "blocking": blocking}
