"""Which options a task may have; everything else is refused when it is bound."""

from __future__ import annotations

from typing import Any

import pytest

from celery_concurrency_id import InvalidOption
from celery_concurrency_id.options import MAX_ID_BYTES
from celery_concurrency_id.policy import policy_of


@pytest.mark.parametrize("option", ["concurrency_limit", "concurrency_max_waiting"])
@pytest.mark.parametrize("number", [True, False, 1.0, 2.5, 0, -1, "2", b"2", [2], float("inf")])
def test_a_wrong_number_is_refused_by_task_option_value_and_what_would_be_right(
    app: Any, gate: Any, option: str, number: Any
) -> None:
    with pytest.raises(InvalidOption) as refused:
        gate(app, "resize", **{option: number})
    error = refused.value
    assert (error.task, error.option, error.value) == ("resize", option, number)
    for part in ("'resize'", option, repr(number), "int of 1 or more", "None"):
        assert part in str(error)


@pytest.mark.parametrize("value", [None, 0, 1, "yes", ["gpu"]])
def test_to_observe_is_true_or_false(app: Any, gate: Any, value: Any) -> None:
    with pytest.raises(InvalidOption) as refused:
        gate(app, "resize", concurrency_observe=value)
    error = refused.value
    assert (error.task, error.option, error.value) == ("resize", "concurrency_observe", value)
    assert "True, False" in str(error)


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("", "not empty"),
        (7, "str"),
        (b"gpu", "str"),
        (False, "str"),
        (0, "str"),
        ("x" * (MAX_ID_BYTES + 1), f"{MAX_ID_BYTES} bytes"),
        ("ü" * (MAX_ID_BYTES // 2 + 1), f"{MAX_ID_BYTES} bytes"),
        ("two words", "spaces"),
        ("tab\t", "spaces"),
        ("line\n", "spaces"),
        ("nul\x00", "control"),
        ("del\x7f", "control"),
        ("half\ud800", "control"),
        ("amq.gpu", "amq."),
        ("celery", "task_default_queue"),
    ],
)
def test_a_wrong_id_is_refused_by_task_option_value_and_what_would_be_right(
    app: Any, gate: Any, id: Any, expected: str
) -> None:
    with pytest.raises(InvalidOption) as refused:
        gate(app, "resize", concurrency_id=id)
    error = refused.value
    assert (error.task, error.option, error.value) == ("resize", "concurrency_id", id)
    for part in ("'resize'", "concurrency_id", repr(id), expected):
        assert part in str(error)


@pytest.mark.parametrize("id", ["gpu_queue", "gpu.a100", "gpu:a100", "räume", "g", "x" * MAX_ID_BYTES, "gpu}", "a|b"])
def test_an_id_may_have_any_other_characters(app: Any, gate: Any, id: str) -> None:
    gate(app, concurrency_id=id)
    assert policy_of(app).gated == {id}


def test_the_default_queue_is_refused_under_the_name_that_the_user_gave_it(make_app: Any, gate: Any) -> None:
    app = make_app(task_default_queue="main")
    with pytest.raises(InvalidOption, match="task_default_queue"):
        gate(app, concurrency_id="main")
    gate(app, concurrency_id="celery")


def test_a_task_without_an_id_has_a_queue_of_its_own_name(app: Any, gate: Any) -> None:
    gate(app, "proj.resize")
    assert policy_of(app).ids == {"proj.resize": "proj.resize"}


def test_a_task_whose_own_name_cannot_be_an_id_is_refused_too(app: Any, gate: Any) -> None:
    with pytest.raises(InvalidOption, match="amq"):
        gate(app, "amq.resize")


def test_a_refused_task_leaves_nothing_behind(app: Any, gate: Any) -> None:
    with pytest.raises(InvalidOption):
        gate(app, "resize", concurrency_id="gpu", concurrency_limit=0)
    assert policy_of(app).gated == frozenset()
    assert policy_of(app).ids == {}


def test_an_id_that_an_ordinary_task_is_routed_to_is_refused(make_app: Any, gate: Any, ordinary: Any) -> None:
    app = make_app(task_routes={"mail": {"queue": "gpu"}})
    gate(app, "render", concurrency_id="gpu")
    ordinary(app, "mail")
    with pytest.raises(InvalidOption) as refused:
        policy_of(app).check_routes()
    assert (refused.value.task, refused.value.option, refused.value.value) == ("render", "concurrency_id", "gpu")
    assert "'mail'" in str(refused.value)
