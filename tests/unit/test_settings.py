"""Every setting: its default, where it comes from, what is refused."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import pytest
from celery import Celery

from celery_concurrency_id import InvalidSetting
from celery_concurrency_id.policy import policy_of
from celery_concurrency_id.settings import Settings


def test_the_defaults(make_app: Any) -> None:
    assert Settings.of(make_app(concurrency_url="redis://host/3")) == Settings(
        url="redis://host/3",
        options={},
        namespace="celery",
        default_limit=1,
        limits={},
        tasks={},
        max_waiting=None,
        lease_ttl=15.0,
        fetch_ahead=True,
        on_lease_lost="continue",
        metrics_port=None,
        metrics_host="0.0.0.0",
        metrics_ids=100,
    )


def test_every_setting_is_read(make_app: Any) -> None:
    app = make_app(
        concurrency_url="unix:///run/redis.sock",
        concurrency_transport_options={"ssl_ca_certs": "ca.pem"},
        concurrency_namespace="shop",
        concurrency_default_limit=3,
        concurrency_limits={"gpu": 2, "free*": None},
        concurrency_tasks={"legacy": {"concurrency_id": "gpu"}},
        concurrency_max_waiting={"gpu": 100, "free*": None},
        concurrency_lease_ttl=30,
        concurrency_id_ttl=600,
        concurrency_fetch_ahead=False,
        concurrency_on_lease_lost="terminate",
        concurrency_metrics_port=9810,
        concurrency_metrics_host="127.0.0.1",
        concurrency_metrics_ids=7,
    )
    settings = Settings.of(app)
    assert settings == Settings(
        "unix:///run/redis.sock",
        {"ssl_ca_certs": "ca.pem"},
        "shop",
        3,
        {"gpu": 2, "free*": None},
        {"legacy": {"concurrency_id": "gpu"}},
        {"gpu": 100, "free*": None},
        30,
        600,
        False,
        "terminate",
        9810,
        "127.0.0.1",
        7,
    )
    assert len(dataclasses.fields(settings)) == 14, "a new setting needs its place in these tests"


def test_settings_cannot_be_changed_once_read(make_app: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings.of(make_app()).namespace = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("namespace", value) for value in ("", "with space", "a{b}", "a:b", 7, None, "x" * 65)),
        *(("default_limit", value) for value in (0, -1, True, 1.5, "1")),
        *(("limits", value) for value in (["gpu"], "gpu", {"gpu": 0}, {"gpu": True}, {"gpu": "2"}, {7: 2})),
        *(("tasks", value) for value in (["a"], "a", None, {7: {}}, {"a": 1}, {"a": {"limit": 1}})),
        *(("max_waiting", value) for value in (0, -1, True, 1.5, "9", [9], {"gpu": 0}, {"gpu": "9"}, {7: 9})),
        *(("lease_ttl", value) for value in (0, -1, 2.9, True, "15", None)),
        *(("fetch_ahead", value) for value in (1, "yes", None)),
        *(("on_lease_lost", value) for value in ("", "stop", True, None)),
        *(("metrics_port", value) for value in (-1, 65536, True, "9810", 9810.0)),
        *(("metrics_host", value) for value in ("", None, 7)),
        *(("metrics_ids", value) for value in (-1, True, None, "7")),
        *(("url", value) for value in ("amqp://host", "host:6379", "http://host", 7, "")),
    ],
)
def test_a_wrong_setting_is_refused_by_name_value_and_what_would_be_right(make_app: Any, name: str, value: Any) -> None:
    app = make_app(**{f"concurrency_{name}": value})
    with pytest.raises(InvalidSetting) as refused:
        Settings.of(app)
    assert refused.value.setting == f"concurrency_{name}"
    assert refused.value.setting in str(refused.value)
    assert repr(refused.value.value) in str(refused.value)
    assert refused.value.expected in str(refused.value)


@pytest.mark.parametrize(
    ("conf", "url"),
    [
        ({"concurrency_url": "redis://own/1"}, "redis://own/1"),
        ({}, "redis://broker/0"),
        ({"broker_url": "amqp://broker"}, "redis://results/0"),
        ({"broker_url": "sentinel://s1:26379;sentinel://s2:26379"}, "sentinel://s1:26379;sentinel://s2:26379"),
        ({"broker_url": ["redis://one", "redis://two"]}, "redis://one;redis://two"),
        ({"broker_read_url": "rediss://reader/0"}, "rediss://reader/0"),
    ],
)
def test_the_url_is_ones_own_else_the_brokers_else_the_result_backends(
    make_app: Any, conf: dict[str, Any], url: str
) -> None:
    app = make_app(**{"broker_url": "redis://broker/0", "result_backend": "redis://results/0", **conf})
    assert Settings.of(app).url == url


@pytest.mark.parametrize("backend", [None, "rpc://", "db+sqlite:///results.db"])
def test_without_any_redis_the_error_says_what_to_set(make_app: Any, backend: str | None) -> None:
    app = make_app(broker_url="amqp://broker", result_backend=backend)
    with pytest.raises(InvalidSetting, match="neither broker_url nor result_backend") as refused:
        Settings.of(app)
    assert refused.value.setting == "concurrency_url"


def test_the_options_are_those_of_the_url_that_is_used(make_app: Any) -> None:
    conf = {
        "broker_transport_options": {"master_name": "broker-master"},
        "broker_use_ssl": {"ssl_cert_reqs": "required"},
        "result_backend_transport_options": {"master_name": "result-master"},
        "redis_backend_use_ssl": {"ssl_ca_certs": "ca.pem"},
        "result_backend": "redis://results",
    }
    of_broker = Settings.of(make_app(broker_url="rediss://broker", **conf)).options
    of_backend = Settings.of(make_app(broker_url="amqp://broker", **conf)).options
    own = Settings.of(make_app(broker_url="rediss://broker", concurrency_url="redis://own", **conf)).options
    assert of_broker == {"master_name": "broker-master", "ssl_cert_reqs": "required"}
    assert of_backend == {"master_name": "result-master", "ssl_ca_certs": "ca.pem"}
    assert own == {}


@pytest.mark.parametrize("value", ["amqp://user:secret@host", "amqp://user:secret@host?password=secret"])
def test_an_error_never_shows_a_password(make_app: Any, value: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        Settings.of(make_app(concurrency_url=value))
    assert "secret" not in str(refused.value)
    assert "secret" not in repr(refused.value)
    assert "user" in str(refused.value)


def test_a_django_project_writes_every_one_in_capitals_with_its_prefix() -> None:
    said = {
        "url": "redis://own/5",
        "transport_options": {"ssl_ca_certs": "ca.pem"},
        "namespace": "django",
        "default_limit": 4,
        "limits": {"gpu": 2},
        "tasks": {"legacy": {"concurrency_id": "gpu"}},
        "max_waiting": 50,
        "lease_ttl": 20,
        "id_ttl": 60,
        "fetch_ahead": False,
        "on_lease_lost": "terminate",
        "metrics_port": 9810,
        "metrics_host": "127.0.0.1",
        "metrics_ids": 7,
    }
    names = {"options": "transport_options"}
    assert {names.get(field.name, field.name) for field in dataclasses.fields(Settings)} == set(said)
    django = types.SimpleNamespace(**{f"CELERY_CONCURRENCY_{name.upper()}": value for name, value in said.items()})
    app = Celery("django", set_as_current=False)
    app.config_from_object(django, namespace="CELERY")
    settings = Settings.of(app)
    app.close()
    assert {names.get(name, name): value for name, value in vars(settings).items()} == said


def test_lower_case_settings_in_an_object(make_app: Any) -> None:
    app = Celery("plain", set_as_current=False)
    app.config_from_object(types.SimpleNamespace(concurrency_url="redis://own/5", concurrency_default_limit=4))
    settings = Settings.of(app)
    app.close()
    assert (settings.url, settings.default_limit) == ("redis://own/5", 4)


def test_settings_are_read_late_so_that_configuration_may_come_after_the_tasks(make_app: Any, gate: Any) -> None:
    app = make_app()
    gate(app, concurrency_id="gpu")
    app.conf.update(concurrency_default_limit=6)
    assert policy_of(app).limit_of("gpu") == 6
