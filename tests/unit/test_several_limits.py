"""What the options for several slots come to, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from celery_concurrency_id import InvalidOption, InvalidSetting
from celery_concurrency_id.policy import policy_of


def by_user(user: str) -> None:
    """A task with a user."""


def bind(app: Any, gate: Any, function: Any = None, **options: Any) -> Any:
    """Bind a gated task named ``work``."""
    if function is None:
        return gate(app, "work", **options)
    from celery_concurrency_id import QueuedTask

    app.task(base=QueuedTask, name="work", **options)(function)
    return app.tasks["work"]


@pytest.mark.parametrize(
    ("options", "id", "needs"),
    [
        ({"concurrency": {"gpu": 1, "api": 2}}, "api:2+gpu", "api 2 gpu 1"),
        ({"concurrency": {"api": 2, "gpu": 1}}, "api:2+gpu", "api 2 gpu 1"),
        ({"concurrency": {"gpu": 3}}, "gpu:3", "gpu 3"),
        ({"concurrency_id": "gpu", "concurrency_slots": 3}, "gpu:3", "gpu 3"),
        ({"concurrency_slots": 2}, "work:2", "work 2"),
        ({"concurrency": {"gpu": 1}}, "gpu", ""),
        ({"concurrency_id": "gpu", "concurrency_slots": 1}, "gpu", ""),
    ],
)
def test_tasks_that_need_the_same_slots_share_a_queue_named_after_them(
    app: Any, gate: Any, options: dict[str, Any], id: str, needs: str
) -> None:
    bind(app, gate, **options)
    policy = policy_of(app)
    assert policy.ids == {"work": id}
    assert policy.needs_of(id) == needs
    assert policy.gated == {id, *needs.split()[::2]}


def test_the_limit_belongs_to_what_is_needed_and_not_to_the_queue(app: Any, gate: Any) -> None:
    bind(app, gate, concurrency_id="gpu", concurrency_slots=3, concurrency_limit=4)
    assert policy_of(app).limits() == {"gpu": 4, "gpu:3": None}


@pytest.mark.parametrize("key", ["{user}", lambda user: user])
def test_a_key_makes_ids_with_a_limit_of_their_own_within_the_total(app: Any, gate: Any, key: Any) -> None:
    options = {"concurrency_id": "api", "concurrency_limit": 20, "concurrency_key": key, "concurrency_key_limit": 2}
    bind(app, gate, by_user, **options)
    policy = policy_of(app)
    (family,) = policy.family_names
    assert family == ("api/{user}" if isinstance(key, str) else "api/work")
    assert policy.id_for("work", ("7",), {}) == "api/7"
    assert policy.known("api/7", family) == ("api/7", family, 2, "api 1")
    assert policy.limits() == {"api": 20}


@pytest.mark.parametrize(
    ("options", "option", "expected"),
    [
        ({"concurrency": {}}, "concurrency", "a dict of slots"),
        ({"concurrency": ["gpu"]}, "concurrency", "a dict of slots"),
        *(
            ({"concurrency": {"gpu": slots}}, "concurrency", "1 to 1000")
            for slots in (0, -1, True, 1.0, "1", None, 1001)
        ),
        ({"concurrency": {"gpu": 1, "two words": 1}}, "concurrency", "spaces"),
        ({"concurrency": {"gpu": 1, 7: 1}}, "concurrency", "str"),
        ({"concurrency": {"g" * 120: 1, "h" * 120: 1}}, "concurrency", "200 bytes"),
        ({"concurrency": {"gpu-{user}": 1}}, "concurrency", "always the same"),
        ({"concurrency": {"gpu": 1}, "concurrency_id": "gpu"}, "concurrency_id", "none beside concurrency"),
        ({"concurrency": {"gpu": 1}, "concurrency_limit": 2}, "concurrency_limit", "none beside concurrency"),
        ({"concurrency": {"gpu": 1}, "concurrency_slots": 2}, "concurrency_slots", "none beside concurrency"),
        ({"concurrency": {"gpu": 1}, "concurrency_key": "{user}"}, "concurrency_key", "none beside concurrency"),
        *(({"concurrency_slots": slots}, "concurrency_slots", "1 to 1000") for slots in (0, -1, True, 1.0, "2", None)),
        ({"concurrency_slots": 3, "concurrency_limit": 2}, "concurrency_slots", "concurrency_limit, 2"),
        ({"concurrency_slots": 2, "concurrency_id": "gpu-{user}"}, "concurrency_id", "always the same"),
        ({"concurrency_slots": 2, "concurrency_key": "{user}"}, "concurrency_slots", "no such option"),
        ({"concurrency_slots": 2, "concurrency_limit": lambda id: 2}, "concurrency_limit", "int of 1 or more"),
        ({"concurrency_key": "user"}, "concurrency_key", "template"),
        ({"concurrency_key": 7}, "concurrency_key", "template"),
        ({"concurrency_key": "{nobody}"}, "concurrency_id", "names of the task's arguments"),
        ({"concurrency_key": "{user}", "concurrency_id": "api-{user}"}, "concurrency_id", "always the same"),
        ({"concurrency_key": "{user}", "concurrency_key_limit": 0}, "concurrency_key_limit", "int of 1 or more"),
        ({"concurrency_key_limit": 2}, "concurrency_key_limit", "concurrency_key beside it"),
    ],
)
def test_what_cannot_be_is_refused_when_the_task_is_bound(
    app: Any, gate: Any, options: dict[str, Any], option: str, expected: str
) -> None:
    with pytest.raises(InvalidOption) as refused:
        bind(app, gate, by_user, **options)
    assert (refused.value.task, refused.value.option) == ("work", option)
    assert expected in str(refused.value)
    assert policy_of(app).gated == frozenset()


def test_two_tasks_of_one_queue_need_the_same_slots(app: Any, gate: Any) -> None:
    gate(app, "plain", concurrency_id="gpu:2")
    with pytest.raises(InvalidOption, match="'plain' has the id 'gpu:2'"):
        bind(app, gate, concurrency_id="gpu", concurrency_slots=2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"concurrency": {"gpu": 3, "api": 1}}, "no more slots of 'gpu' than its limit, 2"),
        ({"concurrency": {"gpu": 1, "gpuu": 1}}, "nobody names one for 'gpuu'"),
        ({"concurrency_id": "alone", "concurrency_slots": 2}, "no more slots of 'alone' than its limit, 1"),
    ],
)
def test_a_worker_refuses_tasks_that_could_never_start(
    make_app: Any, gate: Any, options: dict[str, Any], expected: str
) -> None:
    app = make_app(concurrency_limits={"api": 5})
    gate(app, "render", concurrency_id="gpu", concurrency_limit=2)
    bind(app, gate, **options)
    with pytest.raises(InvalidOption, match=expected):
        policy_of(app).check_needs()


def test_what_each_limit_allows_is_not_refused(make_app: Any, gate: Any) -> None:
    app = make_app(concurrency_limits={"api": 5, "gpu": None})
    gate(app, "render", concurrency_id="gpu")
    bind(app, gate, concurrency={"gpu": 1000, "api": 5})
    policy_of(app).check_needs()


@pytest.mark.parametrize("options", [{"concurrency_id": "other"}, {"concurrency": {"gpu": 1}}])
def test_a_call_cannot_name_other_slots(app: Any, gate: Any, options: dict[str, Any]) -> None:
    task = bind(app, gate, concurrency={"gpu": 1, "api": 1})
    with pytest.raises(InvalidOption, match="no such option"):
        task.apply_async(**options)


def test_the_configuration_may_say_all_of_it(make_app: Any, gate: Any, ordinary: Any) -> None:
    app = make_app(
        concurrency_tasks={
            "legacy": {"concurrency": {"gpu": 1, "api": 1}},
            "work": {"concurrency_id": "plain"},
            "other": {"concurrency": {"gpu": 2}},
            "wrong": {"concurrency_slots": 0},
        }
    )
    ordinary(app, "legacy")
    with pytest.raises(InvalidSetting, match="'wrong'"):
        policy_of(app).id_of("legacy")
    del app.conf.concurrency_tasks["wrong"]
    bind(app, gate, concurrency={"a": 1, "b": 1})
    gate(app, "other", concurrency_id="mine", concurrency_limit=3)
    policy = policy_of(app)
    assert [policy.id_of(name) for name in ("legacy", "work", "other")] == ["api+gpu", "plain", "gpu:2"]
    assert policy.gated == {"api+gpu", "api", "gpu", "plain", "gpu:2"}
