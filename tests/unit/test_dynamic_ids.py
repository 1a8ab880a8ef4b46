"""Ids made from arguments: what makes them, what is refused, where their messages go, what is remembered of them."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from celery import Celery
from kombu import Exchange, Queue

from celery_concurrency_id import InvalidOption, QueuedTask, install
from celery_concurrency_id.families import Family
from celery_concurrency_id.policy import policy_of
from celery_concurrency_id.queues import DynamicQueue, dynamic_queue
from celery_concurrency_id.semaphore import backlog
from celery_concurrency_id.semaphore.announcer import Announcer
from celery_concurrency_id.semaphore.backlog import Backlog, Learnt
from celery_concurrency_id.semaphore.semaphore import Known
from celery_concurrency_id.worker import directory
from celery_concurrency_id.worker.directory import Directory
from celery_concurrency_id.worker.move import Mover


def define(app: Celery, id: Any, name: str = "export", **options: Any) -> Any:
    """Bind a task with three arguments, one of which has a default."""

    @app.task(base=QueuedTask, name=name, concurrency_id=id, **options)
    def export(tenant: Any, table: str = "orders", *, day: Any = None) -> None: ...

    return app.tasks[name]


def route(app: Celery, name: str = "export", *args: Any, options: Any = None, **kwargs: Any) -> Any:
    return app.amqp.router.route(options or {}, name, args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "id"),
    [((7,), {}, "t-7-orders"), ((), {"tenant": 7}, "t-7-orders"), ((7, "users"), {}, "t-7-users")],
)
def test_a_template_is_filled_from_the_bound_arguments(app: Celery, args: Any, kwargs: Any, id: str) -> None:
    define(app, "t-{tenant}-{table}")

    routed = route(app, "export", *args, **kwargs)

    assert (routed["queue"].name, routed["headers"]) == (id, {"concurrency_id": id})


def test_a_template_may_use_attributes_items_and_formats_but_not_what_an_argument_contains(app: Celery) -> None:
    define(app, "{tenant.name}-{day[0]:03}-{table}")

    routed = route(app, "export", SimpleNamespace(name="acme"), "{tenant}", day=[5])

    assert routed["queue"].name == "acme-005-{tenant}"


def test_a_task_that_gets_itself_is_bound_without_that(app: Celery) -> None:
    @app.task(base=QueuedTask, name="bound", bind=True, concurrency_id="t-{tenant}")
    def bound(self: Any, tenant: Any) -> None: ...

    class Classic(QueuedTask):
        name, concurrency_id = "classic", "t-{tenant}"

        def run(self, tenant: Any) -> None: ...

    app.register_task(Classic())
    assert [route(app, name, 7)["queue"].name for name in ("bound", "classic")] == ["t-7", "t-7"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("t-{customer}", "tenant, table, day"),
        ("t-{}", "by their names"),
        ("t-{0}", "by their names"),
        ("t-{tenant", "format string"),
        ("t-{{tenant}}", "names an argument"),
        ("t-{tenant:{width}}", "tenant, table, day"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused_when_the_task_is_bound(
    app: Celery, template: str, expected: str
) -> None:
    with pytest.raises(InvalidOption, match=expected) as refused:
        define(app, template)
    assert (refused.value.task, refused.value.option, refused.value.value) == ("export", "concurrency_id", template)


def test_a_callable_gets_the_arguments_as_they_were_given_and_what_it_raises_is_raised(app: Celery) -> None:
    define(app, lambda tenant, **others: f"{tenant}-{sorted(others)}".replace(" ", ""))
    define(app, staticmethod(lambda tenant: {}[tenant]), "broken")

    assert route(app, "export", 7, table="x")["queue"].name == "7-['table']"
    with pytest.raises(KeyError):
        route(app, "broken", 7)


@pytest.mark.parametrize("id", ["", "two words", "x" * 201, "amq.x", "celery", 7, b"x"])
def test_what_cannot_be_an_id_is_refused_at_the_call_however_it_was_made(app: Celery, id: Any) -> None:
    define(app, lambda tenant: id)
    define(app, None, "static")

    for name, options in (("export", {}), ("static", {"concurrency_id": id})):
        with pytest.raises(InvalidOption) as refused:
            route(app, name, 1, options=options)
        assert (refused.value.task, refused.value.value) == (name, id)


def test_arguments_that_do_not_fit_the_template_are_refused_at_the_call(app: Celery) -> None:
    define(app, "t-{tenant.name}")
    for args in ((), (7,)):
        with pytest.raises(InvalidOption, match="made from"):
            route(app, "export", *args)


def test_the_id_of_a_message_stands_over_the_arguments_and_the_id_of_a_call_over_both(app: Celery) -> None:
    define(app, "t-{tenant}")
    kept = {"headers": {"concurrency_id": "t-first", "other": 1}}

    assert route(app, "export", 7, options=kept)["queue"].name == "t-first"
    routed = route(app, "export", 7, options={**kept, "concurrency_id": "mine"})

    assert routed["headers"] == {"concurrency_id": "mine", "other": 1}
    assert "concurrency_id" not in routed
    assert kept["headers"]["concurrency_id"] == "t-first", "the caller's options stay as they are"


def test_an_ordinary_task_takes_no_id_and_an_unknown_one_carries_it(app: Celery, ordinary: Any, gate: Any) -> None:
    gate(app)
    ordinary(app, "plain")

    with pytest.raises(InvalidOption, match="no QueuedTask"):
        route(app, "plain", options={"concurrency_id": "x"})
    routed = route(app, "elsewhere", options={"concurrency_id": "x"})

    assert (routed["queue"].name, routed["headers"]) == ("celery", {"concurrency_id": "x"})


def test_a_task_known_by_name_only_is_left_to_the_workers_where_its_arguments_have_no_names(
    make_app: Callable[..., Celery],
) -> None:
    app = make_app(concurrency_tasks={"far.export": {"concurrency_id": "t-{tenant}"}})
    install(app)

    assert route(app, "far.export", tenant=7)["queue"].name == "t-7"
    assert route(app, "far.export", 7)["queue"].name == "celery"


def test_the_queue_is_bound_to_nothing_and_never_taken_for_declared(app: Celery) -> None:
    define(app, "t-{tenant}")
    queue = route(app, "export", 7)["queue"]
    assert (queue.exchange.name, queue.exchange.type, queue.routing_key) == ("", "direct", "t-7")
    assert not queue.can_cache_declaration
    assert queue.expires is None, "the broker would delete it with its tasks"


def test_each_id_has_a_queue_like_that_of_every_other(make_app: Callable[..., Celery]) -> None:
    app = make_app(task_queue_max_priority=7)
    install(app)
    first, second = dynamic_queue(app, "tenant-1"), dynamic_queue(app, "tenant-2")
    made = DynamicQueue("tenant-2", Exchange(""), "tenant-2", queue_arguments={"x-max-priority": 7})

    assert vars(second) == vars(made)
    assert (first.name, first.routing_key) == ("tenant-1", "tenant-1"), "the second one left it alone"


def test_a_declared_queue_of_that_name_keeps_its_arguments(make_app: Callable[..., Celery]) -> None:
    app = make_app(task_queues=[Queue("celery"), Queue("t-7", queue_arguments={"x-max-priority": 3})])
    define(app, "t-{tenant}")
    assert route(app, "export", 7)["queue"].queue_arguments == {"x-max-priority": 3}


def test_workers_choose_families_by_their_names(app: Celery) -> None:
    define(app, "t-{tenant}")
    define(app, lambda tenant: "x", "call")
    queues = app.amqp.queues
    assert (queues.served(), queues.served_families()) == ([], ["call", "t-{tenant}"])

    queues.select(["celery", "t-{tenant}"])

    assert queues.served_families() == ["t-{tenant}"]
    assert list(queues.consume_from) == ["celery"], "the family is no queue"


def test_the_limit_is_that_of_the_id_then_of_a_glob_then_of_the_family_then_the_tasks(
    make_app: Callable[..., Celery],
) -> None:
    app = make_app(concurrency_limits={"t-1": 11, "t-2*": 22, "u-{tenant}": 33}, concurrency_default_limit=7)
    define(app, "t-{tenant}", concurrency_limit=5)
    define(app, "t-{tenant}", "other", concurrency_limit=4)
    define(app, "u-{tenant}", "third")
    define(app, "v-{tenant}", "fourth", concurrency_limit=lambda id: len(id))
    define(app, "w-{tenant}", "fifth")
    limit_of = policy_of(app).limit_of
    assert [limit_of(id, "t-{tenant}") for id in ("t-1", "t-25", "t-3", "called")] == [11, 22, 4, 4]
    assert [limit_of("u-1", "u-{tenant}"), limit_of("v-12", "v-{tenant}"), limit_of("w-1", "w-{tenant}")] == [33, 4, 7]


def test_a_callable_limit_that_returns_no_limit_is_refused(app: Celery) -> None:
    define(app, "t-{tenant}", concurrency_limit=lambda id: 0)
    with pytest.raises(InvalidOption, match="concurrency_limit=0"):
        policy_of(app).known("t-1", "t-{tenant}")


def test_a_worker_takes_the_id_of_a_moved_message_from_its_header_if_that_can_be_one(app: Celery) -> None:
    define(app, "t-{tenant}")
    mover = Mover(app)

    def message(header: Any) -> Any:
        return SimpleNamespace(headers={"concurrency_id": header}, decode=lambda: ([7], {}, {}))

    assert mover.id_of(message("mine"), "export") == "mine"
    for forged in ("two words", "celery", 7, None):
        assert mover.id_of(message(forged), "export") == "t-7"


def test_a_family_known_by_name_only_takes_named_arguments() -> None:
    family = Family("export", "t-{tenant}")
    assert (family.make((), {"tenant": 7}), family.has_code) == ("t-7", False)
    assert Family("export", "t-{x}", inspect.signature(lambda **all: 0)).make((), {"x": 1}) == "t-1"


# What is remembered


def known(*names: Any) -> list[Known]:
    return [Known(str(name), "family", 1) for name in names]


def test_a_backlog_keeps_each_id_once_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MOST", 3)
    kept = Backlog()
    kept.add(known(1, 2, 1, 3, 4))
    assert sorted(each.id for each in kept.take(9)) == ["1", "3", "4"]
    assert not kept


def test_what_was_learnt_is_told_again_after_a_time_and_when_redis_may_have_lost_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(backlog, "monotonic", lambda: now)
    monkeypatch.setattr(backlog, "MOST", 2)
    learnt = Learnt(10)
    for number, each in enumerate(known("a", "b", "c")):
        learnt.add(each, now + number)
    assert [learnt.has(each) for each in known("a", "b", "c")] == [False, True, True]
    now = 111.5
    assert [learnt.has(each) for each in known("b", "c")] == [False, True]
    assert learnt.forget() == known("c")
    assert not learnt.has(known("c")[0])


def test_without_redis_nothing_is_taken_for_known_and_all_is_kept() -> None:
    announcer = Announcer("redis://127.0.0.1:1/0", "unit")
    (tenant,) = known("t")

    announcer.learn(tenant)()
    announcer.announce("u", "task", 0, "family", 2)

    assert not announcer.knows(tenant)
    assert {each.id for each in announcer._backlog.take(9)} == {"t", "u"}


def test_a_worker_remembers_ids_for_a_time_and_tells_the_limit_as_it_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(directory, "monotonic", lambda: now)
    monkeypatch.setattr(directory, "MOST", 2)
    remembered = Directory(["family"], 10, lambda id, family: None if id == "b" else 3)
    assert remembered.ttl == 0, "it forgets nothing when it has only just started"
    remembered.hear([("a", "family"), ("b", "family"), ("c", "family")])
    assert remembered.known() == [Known("b", "family", 0), Known("c", "family", 3)]
    now = 10.5
    remembered.attach(50, None)
    assert remembered.ttl == 10
    assert remembered.ids() == []


def test_behind_a_redis_broker_ids_outlive_what_dead_workers_held() -> None:
    remembered = Directory([], 4, lambda id, family: 1)
    remembered.attach(50, 3600)
    remembered._forgets_after = 0
    assert remembered.ttl == 7200
