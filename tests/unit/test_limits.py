"""Which limit an id has."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery import Celery, shared_task

from celery_concurrency_id import QueuedTask, install
from celery_concurrency_id.options import UNSET
from celery_concurrency_id.policy import policy_of


def test_one_explicit_limit_holds_for_all_three_buttons(app: Any, gate: Any) -> None:
    gate(app, "one", concurrency_id="gpu_queue", concurrency_limit=2)
    gate(app, "two", concurrency_id="gpu_queue")
    gate(app, "three", concurrency_id="gpu_queue")
    assert policy_of(app).limits() == {"gpu_queue": 2}


def test_the_default_holds_only_where_nobody_who_shares_the_id_is_explicit(make_app: Any, gate: Any) -> None:
    app = make_app(concurrency_default_limit=7)
    gate(app, "one", concurrency_id="silent")
    gate(app, "two", concurrency_id="said")
    gate(app, "three", concurrency_id="said", concurrency_limit=9)
    assert policy_of(app).limits() == {"silent": 7, "said": 9}


def test_the_default_is_one(app: Any, gate: Any) -> None:
    gate(app, concurrency_id="gpu")
    assert policy_of(app).limit_of("gpu") == 1


@pytest.mark.parametrize("order", [(3, 2), (2, 3)])
def test_the_lowest_explicit_limit_wins_with_one_warning_that_names_both(
    app: Any, gate: Any, order: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        gate(app, f"says{order[0]}", concurrency_id="gpu", concurrency_limit=order[0])
        gate(app, f"says{order[1]}", concurrency_id="gpu", concurrency_limit=order[1])
        gate(app, "says4", concurrency_id="gpu", concurrency_limit=4)
    assert policy_of(app).limit_of("gpu") == 2
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    for part in ("'gpu'", "'says2'", "'says3'", "concurrency_limit=3"):
        assert part in warning


def test_limits_that_agree_cause_no_warning(app: Any, gate: Any, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("one", "two"):
        gate(app, name, concurrency_id="gpu", concurrency_limit=2)
    assert not caplog.records


def test_none_is_no_limit_and_never_lowers(app: Any, gate: Any, caplog: pytest.LogCaptureFixture) -> None:
    gate(app, "one", concurrency_id="free", concurrency_limit=None)
    gate(app, "two", concurrency_id="gpu", concurrency_limit=None)
    gate(app, "three", concurrency_id="gpu", concurrency_limit=2)
    gate(app, "four", concurrency_id="free")
    assert policy_of(app).limits() == {"free": None, "gpu": 2}
    assert not caplog.records


def test_none_as_the_default_is_no_limit(make_app: Any, gate: Any) -> None:
    app = make_app(concurrency_default_limit=None)
    gate(app, concurrency_id="gpu")
    assert policy_of(app).limit_of("gpu") is None


def test_the_configuration_stands_over_the_decorators(make_app: Any, gate: Any) -> None:
    app = make_app(concurrency_limits={"gpu": 5, "free": None})
    gate(app, "one", concurrency_id="gpu", concurrency_limit=2)
    gate(app, "two", concurrency_id="free", concurrency_limit=2)
    assert policy_of(app).limits() == {"gpu": 5, "free": None}


def test_an_exact_id_stands_over_globs_and_the_first_glob_over_later_ones(make_app: Any, gate: Any) -> None:
    app = make_app(concurrency_limits={"gpu.*": 3, "gpu.a100": 5, "*": 7})
    for id in ("gpu.a100", "gpu.t4", "GPU.t4"):
        gate(app, id, concurrency_id=id)
    assert policy_of(app).limits() == {"gpu.a100": 5, "gpu.t4": 3, "GPU.t4": 7}


def test_an_id_with_the_signs_of_a_glob_is_found_by_its_own_name(make_app: Any, gate: Any) -> None:
    app = make_app(concurrency_limits={"gpu[1]": 4})
    gate(app, concurrency_id="gpu[1]")
    assert policy_of(app).limit_of("gpu[1]") == 4


def test_task_annotations_set_both_options(make_app: Any, gate: Any) -> None:
    app = make_app(task_annotations={"resize": {"concurrency_id": "gpu", "concurrency_limit": 3}})
    gate(app, "resize")
    assert policy_of(app).limits() == {"gpu": 3}


def test_a_shared_task_is_gated_in_every_app(make_app: Any) -> None:
    @shared_task(base=QueuedTask, name="shared.resize", concurrency_id="gpu", concurrency_limit=3)
    def resize() -> None: ...

    for app in (make_app(), make_app()):
        app.finalize()
        assert policy_of(app).ids["shared.resize"] == "gpu"
        assert policy_of(app).limit_of("gpu") == 3


def test_a_class_may_carry_the_options_for_its_tasks(app: Any) -> None:
    class Gpu(QueuedTask):
        abstract = True
        concurrency_id = "gpu"
        concurrency_limit = 3

    @app.task(base=Gpu, name="one")
    def one() -> None: ...

    @app.task(base=Gpu, name="two", concurrency_limit=2)
    def two() -> None: ...

    app.finalize()
    assert policy_of(app).ids == {"one": "gpu", "two": "gpu"}
    assert policy_of(app).limit_of("gpu") == 2


def test_a_task_that_is_bound_again_is_counted_with_its_new_options_only(app: Any, gate: Any) -> None:
    task = gate(app, "resize", concurrency_id="gpu", concurrency_limit=1)
    cls = type(task)
    cls.concurrency_id, cls.concurrency_limit = "cpu", 4
    policy_of(app).add(cls)
    assert policy_of(app).ids == {"resize": "cpu"}
    assert policy_of(app).limits() == {"cpu": 4}
    assert policy_of(app).limit_of("gpu") == 1, "an id that nobody names has the default limit"


def test_two_apps_do_not_share_their_policies(make_app: Any, gate: Any) -> None:
    one, two = make_app(), make_app()
    gate(one, concurrency_id="gpu")
    install(two)
    assert policy_of(one).gated == {"gpu"}
    assert policy_of(two).gated == frozenset()
    assert policy_of(one) is policy_of(one)


def test_policies_do_not_keep_apps_alive() -> None:
    import gc
    import weakref

    app = Celery("short-lived", set_as_current=False)
    policy_of(app)
    gone = weakref.ref(app)
    app.close()
    del app
    gc.collect()
    assert gone() is None


def test_unset_is_told_from_none_and_survives_pickling() -> None:
    import pickle

    assert QueuedTask.concurrency_limit is UNSET
    assert pickle.loads(pickle.dumps(UNSET)) is UNSET
    assert repr(UNSET) == "UNSET"
