"""One look at the configuration when the worker starts: what will go wrong later, and what to change."""

from __future__ import annotations

import logging
import re
from typing import Any

from redis.exceptions import RedisError

from ..policy import Policy
from ..semaphore.connect import connect, redacted

__all__ = ("check_broker", "check_redis", "warn")

logger = logging.getLogger(__name__)

_OLDEST = (6, 2)


def warn(policy: Policy, app: Any, visibility_timeout: float | None) -> None:
    """Log an error for each thing that is wrong."""
    for problem in [*check_redis(policy), *check_broker(policy, app, visibility_timeout)]:
        logger.error("concurrency, found at start: %s", problem)


def check_redis(policy: Policy) -> list[str]:
    """Return what is wrong with the semaphore's Redis."""
    settings = policy.settings
    where = redacted(settings.url)
    try:
        client = connect(settings.url, dict(settings.options))
        info: Any = {**client.info("server"), **client.info("memory")}
    except (RedisError, OSError) as exc:
        why = str(exc) or type(exc).__name__
        return [
            f"Redis at {where} cannot be used ({why}): start it, or correct concurrency_url, its "
            "password or concurrency_transport_options"
        ]
    problems = []
    version = str(info.get("redis_version", ""))
    known = re.match(r"(\d+)\.(\d+)", version)
    if known and (int(known[1]), int(known[2])) < _OLDEST:
        problems.append(f"Redis {version} at {where} is too old: use 6.2 or newer, or Valkey")
    policy_name = str(info.get("maxmemory_policy", ""))
    if policy_name.startswith("allkeys"):
        problems.append(
            f"Redis at {where} may evict the slots when its memory is full (maxmemory-policy {policy_name}): set "
            "maxmemory-policy to noeviction or one of volatile-*"
        )
    return problems


def check_broker(policy: Policy, app: Any, visibility_timeout: float | None) -> list[str]:
    """Return what is wrong with time limits under the broker's visibility timeout."""
    if visibility_timeout is None:
        return []
    problems = []
    for name in sorted({*policy.ids, *policy.families}):
        task = app.tasks.get(name)
        if task is None:
            continue  # known by name only, to publish it
        limit = task.time_limit or task.soft_time_limit or app.conf.task_time_limit or app.conf.task_soft_time_limit
        if limit and limit > visibility_timeout and task.acks_late:
            problems.append(
                f"task {name!r} may run for {limit:g} s, but the broker delivers an unacknowledged message again after "
                f"{visibility_timeout:g} s: raise broker_transport_options['visibility_timeout'] above the time limit"
            )
    return problems
