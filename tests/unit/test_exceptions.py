"""Errors travel: as values between processes, and by their common root."""

from __future__ import annotations

import copy
import pickle

import pytest

import celery_concurrency_id as package
from celery_concurrency_id import (
    CannotYield,
    ConcurrencyError,
    DeadlockError,
    InvalidControl,
    InvalidOption,
    InvalidSetting,
    QueueFullError,
    SemaphoreUnavailable,
    UnsupportedBroker,
)

ERRORS = [
    CannotYield("describe", {"gpu": 1, "llm": 1}),
    DeadlockError("gpu_queue", 2, "c0ffee"),
    InvalidControl("set", "limit", 0, "an int"),
    InvalidOption("resize", "concurrency_limit", 0, "an int"),
    InvalidSetting("concurrency_url", "amqp://", "a Redis"),
    QueueFullError("gpu_queue", 20, 20),
    SemaphoreUnavailable("turn: timed out"),
    UnsupportedBroker("sqs", "Redis or RabbitMQ"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("send", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
def test_an_error_arrives_as_it_was_sent(error: ConcurrencyError, send: object) -> None:
    received = send(error)  # type: ignore[operator]
    assert type(received) is type(error)
    assert str(received) == str(error)
    assert vars(received) == vars(error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_one_root_catches_all(error: ConcurrencyError) -> None:
    assert isinstance(error, ConcurrencyError)


def test_every_error_of_the_module_is_public_and_tested_here() -> None:
    from celery_concurrency_id import exceptions

    assert {type(error).__name__ for error in ERRORS} | {"ConcurrencyError"} == set(exceptions.__all__)
    assert set(exceptions.__all__) <= set(package.__all__)


def test_wrong_options_and_settings_are_value_errors() -> None:
    assert issubclass(InvalidControl, ValueError)
    assert issubclass(InvalidOption, ValueError)
    assert issubclass(InvalidSetting, ValueError)
