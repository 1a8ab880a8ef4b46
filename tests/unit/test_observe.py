"""Which limits only watch."""

from __future__ import annotations

from typing import Any

import pytest

from celery_concurrency_id import InvalidSetting
from celery_concurrency_id.policy import policy_of
from celery_concurrency_id.settings import Settings


def test_an_id_is_observed_if_a_task_says_so_and_none_says_no(app: Any, gate: Any) -> None:
    gate(app, "resize", concurrency_id="gpu", concurrency_limit=3, concurrency_observe=True)
    gate(app, "scale", concurrency_id="gpu")
    gate(app, "mail", concurrency_id="smtp")
    gate(app, "any", concurrency_id="free", concurrency_limit=None, concurrency_observe=True)
    policy = policy_of(app)
    assert [policy.told(id) for id in ("gpu", "smtp", "free")] == [-3, 1, 0]

    gate(app, "crop", concurrency_id="gpu", concurrency_observe=False)
    assert policy.told("gpu") == 3


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (True, [-3, -1, -1]),
        (False, [3, 1, 1]),
        ([], [-3, 1, 1]),
        (["smtp"], [-3, -1, 1]),
        (("tenant-*", "sm*"), [-3, -1, -1]),
        ({"tenant-{tenant}"}, [-3, 1, -1]),
    ],
)
def test_the_setting_stands_over_the_tasks(make_app: Any, gate: Any, setting: Any, told: list[int]) -> None:
    app = make_app(concurrency_observe=setting)
    gate(app, "resize", concurrency_id="gpu", concurrency_limit=3, concurrency_observe=True)
    gate(app, "mail", concurrency_id="smtp")
    policy = policy_of(app)
    known = policy.known("tenant-7", "tenant-{tenant}")
    assert [policy.told("gpu"), policy.told("smtp"), known.limit] == told
    assert policy.limit_of("gpu") == 3, "the number stays what it is"


@pytest.mark.parametrize("value", [1, "gpu", [1], [""], {"gpu": True}])
def test_a_wrong_setting_is_refused(make_app: Any, value: Any) -> None:
    with pytest.raises(InvalidSetting, match="concurrency_observe") as refused:
        Settings.of(make_app(concurrency_observe=value))
    assert "a list of ids or globs" in str(refused.value)


def test_the_configuration_may_say_it_of_tasks_whose_code_stays_as_it_is(make_app: Any) -> None:
    app = make_app(concurrency_tasks={"legacy": {"concurrency_id": "gpu", "concurrency_observe": True}})
    assert policy_of(app).gates("legacy")
    assert policy_of(app).told("gpu") == -1
