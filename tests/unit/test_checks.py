"""What the check at worker start says of servers that no test can start."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ConnectionError

from celery_concurrency_id.policy import Policy, policy_of
from celery_concurrency_id.worker import checks


@pytest.fixture
def policy(make_app: Any) -> Policy:
    return policy_of(make_app(concurrency_url="redis://:sesame@host:6379/0"))


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the server says of itself; tests change it."""
    said = {"redis_version": "7.2.4", "maxmemory_policy": "noeviction"}

    class Server:
        def info(self, section: str) -> dict[str, str]:
            return {"server": {"redis_version": said["redis_version"]}}.get(
                section, {"maxmemory_policy": said["maxmemory_policy"]}
            )

    monkeypatch.setattr(checks, "connect", lambda url, options: Server())
    return said


@pytest.mark.parametrize("version", ["2.8.24", "5.0.7", "6.0.16", "6.1.99"])
def test_a_redis_that_is_too_old_is_named_with_what_to_use(version: str, policy: Policy, says: dict[str, str]) -> None:
    says["redis_version"] = version

    assert checks.check_redis(policy) == [
        f"Redis {version} at redis://:**@host:6379/0 is too old: use 6.2 or newer, or Valkey"
    ]


@pytest.mark.parametrize("version", ["6.2.0", "6.2-rc1", "7.0.15", "8.0.1", "10.1.0", "unstable", ""])
def test_a_redis_that_is_new_enough_or_does_not_say_is_fine(version: str, policy: Policy, says: dict[str, str]) -> None:
    says["redis_version"] = version

    assert checks.check_redis(policy) == []


@pytest.mark.parametrize("eviction", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_an_eviction_that_drops_any_key_is_named_with_what_to_set(
    eviction: str, policy: Policy, says: dict[str, str]
) -> None:
    says["maxmemory_policy"] = eviction

    [problem] = checks.check_redis(policy)
    assert eviction in problem and "set maxmemory-policy to noeviction" in problem


@pytest.mark.parametrize("eviction", ["noeviction", "volatile-lru", "volatile-ttl"])
def test_an_eviction_that_drops_only_keys_that_expire_is_fine(
    eviction: str, policy: Policy, says: dict[str, str]
) -> None:
    says["maxmemory_policy"] = eviction

    assert checks.check_redis(policy) == []


def test_a_redis_that_cannot_be_used_is_named_with_the_reason(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, options: Any) -> Any:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(checks, "connect", refuse)

    [problem] = checks.check_redis(policy)
    assert "redis://:**@host:6379/0 cannot be used (no route to host)" in problem
    assert "concurrency_url" in problem


@pytest.mark.parametrize(
    ("options", "timeout", "wrong"),
    [
        ({"time_limit": 100, "acks_late": True}, 50.0, True),
        ({"soft_time_limit": 100, "acks_late": True}, 50.0, True),
        ({"time_limit": 100, "acks_late": True}, 100.0, False),
        ({"time_limit": 100}, 50.0, False),  # acknowledged before it runs
        ({"acks_late": True}, 50.0, False),  # nobody knows how long it takes
        ({"time_limit": 100, "acks_late": True}, None, False),  # this broker has no such time
    ],
)
def test_a_visibility_timeout_below_the_time_limit_of_a_late_task_is_named(
    options: dict[str, Any], timeout: float | None, wrong: bool, make_app: Any, gate: Any
) -> None:
    app = make_app()
    gate(app, "render", **options)

    problems = checks.check_broker(policy_of(app), app, timeout)

    assert len(problems) == wrong
    for problem in problems:
        assert "'render'" in problem and "visibility_timeout" in problem
