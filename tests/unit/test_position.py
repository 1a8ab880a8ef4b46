"""Positions without a server: what results have, what the scripts are told, and following a task while things fail."""

from __future__ import annotations

import asyncio
import gc
import pickle
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult
from kombu import Queue

from celery_concurrency_id import Concurrency, Expected, Position, QueuedTask, SemaphoreUnavailable
from celery_concurrency_id.control import watching
from celery_concurrency_id.control.positions import positions_of
from celery_concurrency_id.producer import kind_of, plain_name
from celery_concurrency_id.queues import turn_of
from celery_concurrency_id.semaphore.positions import InSlot, LineState, Taken, Times
from harness.waiting import wait


def make_app(broker: str = "redis://localhost:1/0", **conf: Any) -> Any:
    app = Celery("positions", broker=broker, backend="redis://localhost:1/0", set_as_current=False)
    app.conf.update(conf)

    @app.task(base=QueuedTask, name="render", concurrency_id="gpu", shared=False)
    def render() -> str:
        return "rendered"

    return app


# -- results


def test_results_of_a_queued_task_have_a_position_and_are_still_results_of_the_app() -> None:
    app = make_app()
    result = app.tasks["render"].AsyncResult("x")

    assert isinstance(result, app.AsyncResult)
    assert isinstance(result, AsyncResult)
    assert type(result) is type(app.tasks["render"].AsyncResult("y"))
    assert pickle.loads(pickle.dumps(result)) == result
    assert app.tasks["render"].s().AsyncResult("z").position


def test_a_result_class_of_the_users_stays_one() -> None:
    class Mine(AsyncResult):
        def mine(self) -> str:
            return "mine"

    app = Celery("mine", set_as_current=False, backend="cache+memory://")
    app.AsyncResult = app.subclass_with_self(Mine)

    @app.task(base=QueuedTask, shared=False)
    def render() -> None: ...

    assert render.AsyncResult("x").mine() == "mine"


def test_an_app_goes_when_nobody_needs_it_although_its_results_were_asked_for() -> None:
    app = make_app()
    with pytest.raises(SemaphoreUnavailable):
        app.tasks["render"].AsyncResult("x").position()
    gone = weakref.ref(app)
    del app
    gc.collect()

    assert gone() is None


def test_in_eager_mode_everything_is_done() -> None:
    app = make_app(task_always_eager=True)
    result = app.tasks["render"].delay()

    async def follow() -> list[Position]:
        return [await result.aposition(), *[position async for position in result.apositions()]]

    done = Position(result.id, "done")
    assert result.get() == "rendered"
    assert result.position() == done
    assert list(result.positions()) == [done]
    assert asyncio.run(follow()) == [done, done]


def test_nobody_tells_when_a_task_ends_that_has_given_its_slot_back(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"render": Times(20, 10.0, 0.0)}
    state = LineState(100.0, 1, False, 0, 0, None, 1, True, 0.0, (), (Taken(True, 95.0, "render"),), times)
    app, ends = make_app(), {}
    for away in (False, True):
        positions = positions_of(app)
        monkeypatch.setattr(positions, "_ask", lambda question, away=away: (state, {"x": InSlot(95.0, "render", away)}))
        told = positions.of_many(["x"], "render", "gpu")["x"]
        assert told is not None and told.state == "running"
        ends[away] = told.ends_in
    assert ends == {False: Expected(5.0, 5.0, 5.0), True: None}


def test_without_redis_a_look_says_so_at_once() -> None:
    app = make_app()
    with pytest.raises(SemaphoreUnavailable):
        app.tasks["render"].AsyncResult("x").position()
    with pytest.raises(SemaphoreUnavailable):
        Concurrency(app).position("x")


# -- what the scripts are told


@pytest.mark.parametrize(
    ("name", "priority", "kind"),
    [
        ("render", None, " render"),
        ("render", 9, "9 render"),
        ("render", True, " render"),
        ("render", -1, " render"),
        ("render", 2**40, " render"),
        ("a b|c", 0, "0 a b|c"),
        (None, None, ""),
        ("x" * 201, None, ""),
        ("x" * 201, 5, "5 "),
        ("a\0b", None, ""),
        ("\ud800", None, ""),
        (["render"], None, ""),
    ],
)
def test_a_kind_is_a_priority_and_a_name_that_can_be_one(name: Any, priority: Any, kind: str) -> None:
    assert kind_of(name, priority) == kind
    assert plain_name(name) == kind.partition(" ")[2]


@pytest.mark.parametrize(
    ("broker", "conf", "order"),
    [
        ("redis://localhost:1/0", {}, [[None, 0, 2], [3, 5], [6, 8], [9, 50]]),
        (
            "redis://localhost:1/0",
            {"broker_transport_options": {"priority_steps": [5, 0]}},
            [[None, 0, 4], [5, 9]],
        ),
        (
            "amqp://localhost:1//",
            {"task_queues": [Queue("gpu", queue_arguments={"x-max-priority": 5})]},
            [[5, 9], [4], [1], [None, 0]],
        ),
        ("amqp://localhost:1//", {"task_queue_max_priority": 3}, [[3, 9], [2], [1], [None, 0]]),
        ("amqp://localhost:1//", {}, None),
        (
            "amqp://localhost:1//",
            {"task_queues": [Queue("gpu", queue_arguments={"x-max-priority": 5, "x-queue-type": "quorum"})]},
            None,
        ),
    ],
)
def test_priorities_have_their_turns_as_the_broker_gives_them(
    broker: str, conf: dict[str, Any], order: list[list[int | None]] | None
) -> None:
    turn = turn_of(make_app(broker, **conf), "gpu")

    if order is None:
        assert turn is None
        return
    assert turn is not None
    turns = [{turn(priority) for priority in together} for together in order]
    assert all(len(each) == 1 for each in turns)
    assert [each.pop() for each in turns] == sorted(turn(together[0]) for together in order)


# -- following


class Redis:
    """Stands in for what knows positions: says what it is told to say."""

    def __init__(self) -> None:
        self.says: Any = None
        self.result = "unknown"
        self.looks = 0
        self.together: list[int] = []

    def id_of(self, task: str, name: str | None, id: str | None = None) -> str:
        return "gpu"

    def of_many(self, tasks: Any, name: str | None, id: str) -> dict[str, Any]:
        self.looks += 1
        self.together.append(len(tasks))
        if isinstance(self.says, Exception):
            raise self.says
        return dict.fromkeys(tasks, self.says)

    def elsewhere(self, task: str, id: str | None = None) -> Position:
        return Position(task, self.result, id)


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    redis = Redis()
    watchers = watching.Watchers(redis)  # type: ignore[arg-type]
    monkeypatch.setattr(watching, "_watchers_of", lambda app: watchers)
    yield redis
    redis.says, redis.result = None, "done"
    wait(lambda: not threads(), what="nobody watches any more")


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "concurrency-positions"]


def follow(**options: Any) -> Iterator[Position]:
    arguments = {"name": None, "id": None, "interval": 0.1, "timeout": 20.0, **options}
    return watching.follow(None, "x", **arguments)


def waiting(rank: int, starts: float = 5.0, at: float = 100.0) -> Position:
    return Position("x", "waiting", "gpu", rank, 9, 1, 1, Expected(starts, starts, starts), None, at)


def test_news_are_told_once(redis: Redis) -> None:
    redis.says = waiting(3)
    told = follow()
    assert next(told) == waiting(3)
    looks = redis.looks
    redis.says = waiting(3, starts=4.5, at=100.5)  # half a second later it is half a second less: no news
    wait(lambda: redis.looks > looks + 2, what="it looks again")
    redis.says = waiting(2)
    assert next(told) == waiting(2)
    redis.says = waiting(2, starts=9.0)
    assert next(told) == waiting(2, starts=9.0)
    redis.says, redis.result = None, "done"
    assert [position.state for position in told] == ["done"]


def test_who_reads_slowly_is_told_what_is_so_now(redis: Redis) -> None:
    redis.says = waiting(9)
    told = follow()
    assert next(told).rank == 9
    for rank in (8, 7, 6):
        looks, redis.says = redis.looks, waiting(rank)
        wait(lambda looks=looks: redis.looks > looks + 1, what="it looks again")  # type: ignore[misc]

    assert next(told).rank == 6
    told.close()  # type: ignore[attr-defined]


def test_a_task_that_is_nowhere_for_a_moment_is_no_news(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_GRACE", 30.0)
    redis.says = waiting(0)
    told = follow(timeout=None)
    assert next(told).rank == 0
    looks, redis.says = redis.looks, None  # fetched ahead
    wait(lambda: redis.looks > looks + 1, what="it looks again")
    redis.says = Position("x", "running", "gpu", at=101.0)
    assert next(told).state == "running"
    # It has ended, and left no result.
    monkeypatch.setattr(watching, "_GRACE", 0.2)
    redis.says = None
    assert [position.state for position in told] == ["unknown"]


def test_an_outage_is_bridged_and_a_long_one_is_an_error(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    redis.says = waiting(3)
    told = follow()
    next(told)
    looks, redis.says = redis.looks, SemaphoreUnavailable("away")
    wait(lambda: redis.looks > looks + 2, what="it looks again")
    redis.says = waiting(1)
    assert next(told).rank == 1
    monkeypatch.setattr(watching, "_PATIENCE", 0.2)
    redis.says = SemaphoreUnavailable("away for long")
    with pytest.raises(SemaphoreUnavailable, match="for long"):
        next(told)


def test_a_timeout_ends_it(redis: Redis) -> None:
    redis.says = waiting(3)
    assert [position.rank for position in follow(timeout=2.0)] == [3]
    assert len(list(follow(timeout=0))) <= 1


def test_all_who_watch_are_looked_after_by_one_thread_at_once(redis: Redis) -> None:
    redis.says = waiting(3)
    many = [watching.follow(None, f"x{number}", None, None, 0.1, 20.0) for number in range(50)]
    for told in many:
        next(told)
    looks = len(redis.together) + 1
    wait(lambda: len(redis.together) > looks + 3, what="it looks again")
    assert len(threads()) == 1
    assert min(redis.together[looks:]) == 50
    for told in many:
        told.close()  # type: ignore[attr-defined]


def test_a_look_that_takes_long_comes_seldom(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many watch, looking takes its share of the time and no more."""
    redis.says = waiting(3)
    slow, original = threading.Event(), redis.of_many

    def of_many(*args: Any) -> dict[str, Any]:
        slow.wait(0.1)
        return original(*args)

    monkeypatch.setattr(redis, "of_many", of_many)
    monkeypatch.setattr(watching, "_SHARE", 0.1)
    list(follow(timeout=1.9))
    assert redis.looks <= 3, "one each second, at the most"
