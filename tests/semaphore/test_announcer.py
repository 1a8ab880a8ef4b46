"""Announcements are sent without waiting; each is heard all the same."""

from __future__ import annotations

import redis

from celery_concurrency_id.semaphore import keys
from celery_concurrency_id.semaphore.announcer import Announcer
from harness.waiting import wait


def test_a_server_that_knows_no_script_yet_hears_the_first_announcement_at_once(
    redis_url: str, admin: redis.Redis
) -> None:
    """Whoever announces one task and nothing more for an hour must not have said it to nobody."""
    Announcer(redis_url, "fresh").announce("gpu", "task", 0)

    wait(lambda: admin.zrange(f"{keys.prefix('fresh')}waiting:gpu", 0, -1) == ["task:0"], 5, "the task waits")
