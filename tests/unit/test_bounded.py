"""Which bound a queue has, and whom a publish asks for a place in it."""

from __future__ import annotations

from typing import Any

import pytest

from celery_concurrency_id import QueueFullError
from celery_concurrency_id.bounded import bounded
from celery_concurrency_id.policy import policy_of


class Places:
    """Reservations that answer what they are told to, and note what they are asked."""

    def __init__(self, size: int | None = None) -> None:
        self.size, self.asked, self.cancelled = size, [], []

    def reserve(self, *about: Any) -> int | None:
        self.asked.append(about)
        return self.size

    def cancel(self, *about: Any) -> None:
        self.cancelled.append(about)


@pytest.fixture
def publish(make_app: Any, gate: Any) -> Any:
    """Publish a task of this name to a queue; return what was asked, given back and sent."""

    def publish(places: Places, name: str = "resize", error: Exception | None = None, **options: Any) -> list[str]:
        app, sent = make_app(), []
        gate(app, "resize", concurrency_id="gpu", concurrency_max_waiting=3)
        gate(app, "free", concurrency_id="free")
        policy_of(app)._reservations = places

        def send(producer: Any, name: str, message: Any, **kwargs: Any) -> None:
            if error is not None:
                raise error
            sent.append(name)

        message = app.amqp.create_task_message("id7", name, **options)
        queue = app.amqp.router.route({}, name, (), {})["queue"]
        try:
            bounded(send, app)(None, name, message, queue=queue)
        except QueueFullError as full:
            assert (full.id, full.size, full.limit) == ("gpu", places.size, 3)
            assert not sent
            raise
        return sent

    return publish


def test_a_place_is_asked_for_before_a_task_is_sent(publish: Any) -> None:
    places = Places()
    assert publish(places) == ["resize"]
    assert places.asked == [("gpu", "id7", 0, 3)]
    assert not places.cancelled


def test_where_there_is_none_nothing_is_sent(publish: Any) -> None:
    with pytest.raises(QueueFullError, match="'gpu' is full: 3 tasks wait, and concurrency_max_waiting is 3"):
        publish(Places(3))


@pytest.mark.parametrize(
    ("name", "options"),
    [("resize", {"retries": 1}), ("free", {}), ("ordinary", {})],
    ids=["retry", "unbounded", "ungated"],
)
def test_nobody_is_asked_for(publish: Any, name: str, options: dict[str, Any]) -> None:
    places = Places(3)
    assert publish(places, name, **options) == [name]
    assert not places.asked


@pytest.mark.parametrize("error", [OSError("the broker is away"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_publish_that_fails_gives_its_place_back(publish: Any, error: Any) -> None:
    places = Places()
    with pytest.raises(type(error)):
        publish(places, error=error)
    assert places.cancelled == [("gpu", "id7", 0)]


def test_without_any_redis_there_is_no_bound_and_publishing_goes_on(make_app: Any, gate: Any, caplog: Any) -> None:
    app = make_app(broker_url="amqp://nowhere", concurrency_max_waiting=3)
    gate(app, "resize")
    assert policy_of(app).reservations is None
    assert "without an announcement" in caplog.text


@pytest.mark.parametrize(
    ("setting", "options", "bound"),
    [
        (None, [], None),
        (9, [], 9),
        (9, [4], 4),
        (9, [4, 6], 4),
        (9, [None], None),
        (9, [None, 6], 6),
        ({"gpu": 5, "g*": 7}, [4], 5),
        ({"*u": 8, "g*": 7}, [4], 8),
        ({"g*": None}, [4], None),
        ({"other": 7}, [4], 4),
        ({"other": 7}, [], None),
    ],
)
def test_which_bound_an_id_has(make_app: Any, gate: Any, setting: Any, options: list[Any], bound: int | None) -> None:
    app = make_app(concurrency_max_waiting=setting)
    for number, option in enumerate(options):
        gate(app, f"task{number}", concurrency_id="gpu", concurrency_max_waiting=option)
    gate(app, "silent", concurrency_id="gpu")
    assert policy_of(app).max_waiting_of("gpu") == bound


def test_a_task_bound_anew_forgets_its_bound(app: Any, gate: Any) -> None:
    gate(app, "resize", concurrency_id="gpu", concurrency_max_waiting=3)
    policy_of(app).remove("resize")
    assert policy_of(app).max_waiting_of("gpu") is None


def test_the_configuration_bounds_a_task_whose_code_says_nothing(make_app: Any) -> None:
    app = make_app(concurrency_tasks={"legacy": {"concurrency_id": "gpu", "concurrency_max_waiting": 5}})
    assert policy_of(app).id_of("legacy") == "gpu"
    assert policy_of(app).max_waiting_of("gpu") == 5
