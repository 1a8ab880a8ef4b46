"""``concurrency_tasks``: tasks whose code says nothing of limits, and those whose code says something else."""

from __future__ import annotations

import pickle
import types
from typing import Any

import pytest
from celery import Celery, Task, shared_task
from celery.worker.request import Request
from celery.worker.strategy import default

from celery_concurrency_id import InvalidSetting, install
from celery_concurrency_id.policy import policy_of
from celery_concurrency_id.worker.configured import gate_configured
from celery_concurrency_id.worker.request import GatedRequest


def nothing() -> None:
    """The body of a task."""


def queue_of(app: Any, name: str, **options: Any) -> str:
    return str(app.amqp.router.route(options, name, (), {})["queue"].name)


@pytest.fixture
def configured(make_app: Any) -> Any:
    """Make an app with these entries of ``concurrency_tasks``, and nothing but ``install``."""

    def configured(entries: Any, **conf: Any) -> Any:
        app = make_app(concurrency_tasks=entries, **conf)
        install(app)
        return app

    return configured


def test_a_plain_task_is_gated_by_its_name(configured: Any, ordinary: Any) -> None:
    app = configured({"legacy.render": {"concurrency_id": "gpu", "concurrency_limit": 2}})
    ordinary(app, "legacy.render")
    ordinary(app, "legacy.mail")
    assert queue_of(app, "legacy.render", queue="elsewhere") == "gpu"
    assert queue_of(app, "legacy.mail") == "celery"
    assert policy_of(app).limits() == {"gpu": 2}


def test_a_task_that_is_only_known_by_name_is_gated_too(configured: Any) -> None:
    app = configured({"legacy.render": {"concurrency_id": "gpu"}, "reports.*": {}})
    assert queue_of(app, "legacy.render") == "gpu"
    assert queue_of(app, "reports.daily") == "reports.daily", "without an id, the task's own name is the id"
    assert policy_of(app).gated == {"gpu", "reports.daily"}


def test_an_exact_name_goes_before_globs_and_the_first_glob_before_the_next(configured: Any) -> None:
    entries = {"*.daily": {"concurrency_id": "daily"}, "reports.*": {"concurrency_id": "reports"}}
    app = configured({**entries, "reports.daily": {"concurrency_id": "exact"}, "reports.[ab]": {"concurrency_id": "c"}})
    assert queue_of(app, "reports.daily") == "exact"
    assert queue_of(app, "mail.daily") == "daily"
    assert queue_of(app, "reports.a") == "reports"


def test_none_keeps_a_task_out_of_the_globs(configured: Any, gate: Any) -> None:
    app = configured({"reports.quick": None, "reports.own": None, "reports.*": {"concurrency_id": "reports"}})
    gate(app, "reports.own", concurrency_id="its_own")
    assert queue_of(app, "reports.quick") == "celery"
    assert queue_of(app, "reports.own") == "its_own", "nothing is said of it here, so its own options hold"
    assert queue_of(app, "reports.slow") == "reports"


def test_a_glob_never_gates_celerys_own_tasks(configured: Any) -> None:
    app = configured({"*": {"concurrency_id": "all"}})
    app.finalize()
    celerys = [name for name in app.tasks if name.startswith("celery.")]
    assert celerys
    assert {queue_of(app, name) for name in celerys} == {"celery"}
    assert queue_of(app, "anything.else") == "all"


def test_class_based_and_shared_tasks_are_gated_too(configured: Any) -> None:
    app = configured({"legacy.*": {"concurrency_id": "gpu", "concurrency_limit": 3}})

    class Legacy(Task):  # type: ignore[type-arg]
        name = "legacy.class"

    app.register_task(Legacy())

    @shared_task(name="legacy.shared")
    def shared() -> None: ...

    app.finalize()
    gate_configured(app)
    assert {"legacy.class", "legacy.shared"} <= set(policy_of(app).ids)
    for name in ("legacy.class", "legacy.shared"):
        assert app.tasks[name].Request is GatedRequest
    assert Legacy.Request != GatedRequest, "only this app's task is touched"


def test_the_configuration_stands_over_the_decorator_option_by_option(configured: Any, gate: Any) -> None:
    app = configured({"a": {"concurrency_limit": 5}, "b": {"concurrency_id": "moved"}})
    gate(app, "a", concurrency_id="first", concurrency_limit=2)
    gate(app, "b", concurrency_id="second", concurrency_limit=3)
    assert policy_of(app).limits() == {"first": 5, "moved": 3}
    assert queue_of(app, "b") == "moved"


def test_limits_of_ids_stand_over_limits_of_tasks(configured: Any) -> None:
    app = configured({"a": {"concurrency_id": "gpu", "concurrency_limit": 5}}, concurrency_limits={"gpu": 1})
    assert queue_of(app, "a") == "gpu"
    assert policy_of(app).limits() == {"gpu": 1}


def test_a_configured_task_shares_an_id_with_a_decorated_one(configured: Any, gate: Any, ordinary: Any) -> None:
    app = configured({"legacy": {"concurrency_id": "gpu", "concurrency_limit": 4}})
    gate(app, "new", concurrency_id="gpu", concurrency_limit=3)
    ordinary(app, "legacy")
    assert policy_of(app).limits() == {"gpu": 3}


def test_a_task_bound_after_it_was_published_by_name_keeps_its_own_options(configured: Any, gate: Any) -> None:
    app = configured({"a": {"concurrency_limit": 5}})
    assert queue_of(app, "a") == "a"
    gate(app, "a", concurrency_id="gpu")
    assert queue_of(app, "a") == "gpu"
    assert policy_of(app).limits() == {"gpu": 5}


def test_the_configuration_may_come_after_the_tasks(make_app: Any, ordinary: Any) -> None:
    app = make_app()
    install(app)
    ordinary(app, "legacy")
    app.conf.update(concurrency_tasks={"legacy": {"concurrency_id": "gpu"}})
    assert queue_of(app, "legacy") == "gpu"


def test_a_django_project_writes_it_in_capitals_with_its_prefix() -> None:
    django = types.SimpleNamespace(CELERY_CONCURRENCY_TASKS={"legacy": {"concurrency_id": "gpu"}})
    app = Celery("django", set_as_current=False)
    app.config_from_object(django, namespace="CELERY")
    install(app)
    assert queue_of(app, "legacy") == "gpu"
    app.close()


def test_a_worker_does_not_consume_the_queue_and_serves_the_id(configured: Any, ordinary: Any) -> None:
    app = configured({"legacy": {"concurrency_id": "gpu"}})
    ordinary(app, "legacy")
    assert app.amqp.queues.served() == ["gpu"]
    app.amqp.queues.select(["celery", "gpu"])
    assert set(app.amqp.queues.consume_from) == {"celery"}


def test_a_worker_without_the_tasks_code_does_not_serve_it(configured: Any, ordinary: Any) -> None:
    app = configured({"legacy": {"concurrency_id": "gpu"}, "reports.*": {}})
    ordinary(app, "other")
    assert app.amqp.queues.served() == []


def test_an_ordinary_task_keeps_celerys_request_and_strategy(configured: Any, ordinary: Any) -> None:
    app = configured({"legacy": {}})
    ordinary(app, "legacy")
    plain = ordinary(app, "plain")
    gate_configured(app)
    assert (plain.Request, plain.Strategy) == (Task.Request, Task.Strategy)


def test_a_request_class_and_a_strategy_of_the_tasks_own_stay(configured: Any) -> None:
    app = configured({"legacy": {}})
    asked = []

    class OwnRequest(Request):
        greeting = "hello"

    def own(task: Any, app: Any, consumer: Any) -> Any:
        asked.append(task.name)
        return default

    app.task(name="legacy", Request=OwnRequest, Strategy=staticmethod(own))(nothing)
    gate_configured(app)
    gate_configured(app)  # a second worker in the process
    task = app.tasks["legacy"]
    assert issubclass(task.Request, GatedRequest)
    assert task.Request.greeting == "hello"
    assert task.Request.__mro__.count(GatedRequest) == 1
    task.start_strategy(app, None)
    assert asked == ["legacy"]


def test_eager_tasks_run_at_once(configured: Any) -> None:
    app = configured({"double": {}}, broker_url="memory://", task_always_eager=True)

    @app.task(name="double")
    def double(number: int) -> int:
        return 2 * number

    assert double.delay(4).get() == 8
    assert double.apply((4,)).get() == 8


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        (["a"], "a dict of options by task name or glob"),
        ("a", "a dict"),
        (None, "a dict"),
        ({7: {}}, "for each task name or glob"),
        ({"a": 2}, "a dict of options"),
        ({"a": {"concurrency_limits": 2}}, "'a' none but the options concurrency_id"),
        ({"a.*": {"limit": 2}}, "'a.*' none but"),
        *(({"a": {"concurrency_limit": wrong}}, "int of 1 or more") for wrong in (0, -1, True, 2.0, "2")),
        *(({"a": {"concurrency_id": wrong}}, "a name") for wrong in ("", "two words", 7)),
        ({"a": {"concurrency_id": "celery"}}, "task_default_queue"),
        ({"*": {"concurrency_id": "amq.x"}}, "amq."),
    ],
)
@pytest.mark.parametrize("name", ["a", "somebody.else"])
def test_a_wrong_entry_is_refused_by_setting_task_option_value_and_what_would_be_right(
    configured: Any, entries: Any, named: str, name: str
) -> None:
    app = configured(entries)
    for _ in range(2):  # it does not become right by having been refused once
        with pytest.raises(InvalidSetting) as refused:
            queue_of(app, name)
        assert refused.value.setting == "concurrency_tasks"
        assert repr(refused.value.value) in str(refused.value)
        assert named in str(refused.value)
    if isinstance(entries, dict):
        ((entry, options),) = entries.items()
        assert repr(entry) in str(refused.value)
        for option, value in options.items() if isinstance(options, dict) else ():
            assert option in str(refused.value)
            assert repr(value) in str(refused.value)
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)


def test_a_task_whose_name_cannot_be_an_id_needs_one(configured: Any) -> None:
    app = configured({"amq*": {}})
    with pytest.raises(InvalidSetting, match=r"amq\.legacy"):
        queue_of(app, "amq.legacy")
