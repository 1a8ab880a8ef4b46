"""Every setting: name, default, unit and what is refused, in one frozen object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .exceptions import InvalidSetting
from .semaphore.connect import is_redis_url, redacted
from .semaphore.semaphore import SHORT_TIER

__all__ = ("TASK_OPTIONS", "Settings", "check_limit", "tasks_of")

#: What ``concurrency_tasks`` may say of a task: the options of a ``QueuedTask``.
TASK_OPTIONS = (
    *("concurrency_id", "concurrency_limit", "concurrency_max_waiting", "concurrency_observe"),
    *("concurrency", "concurrency_slots", "concurrency_key", "concurrency_key_limit"),
)

#: Seconds: an id must outlive what workers and producers know of it only for a moment.
SHORTEST_ID_TTL = 4.0


def check_limit(value: Any) -> bool:
    """Say whether a value can be a limit, or a bound: an int of 1 or more, or None for none."""
    return value is None or (type(value) is int and value >= 1)


@dataclass(frozen=True)
class Settings:
    """What an app says about its limits.

    Attributes:
        url: ``concurrency_url``: the Redis that holds the slots. Unset: ``broker_url``, else ``result_backend``, if
            that is a Redis.
        options: ``concurrency_transport_options``: ``master_name`` for Sentinel, ``ssl_*`` for TLS. Unset: those of
            the URL that is used.
        namespace: ``concurrency_namespace``: apps that share a Redis but no limits have different ones.
        default_limit: ``concurrency_default_limit``: for ids where nobody names a limit.
        limits: ``concurrency_limits``: limit by id or glob; stands over the decorators.
        tasks: ``concurrency_tasks``: options by task name or glob, for tasks whose code says nothing of limits; stands
            over the decorators.
        max_waiting: ``concurrency_max_waiting``: how many tasks of an id may wait. A number is for ids where nobody
            names one; a dict of numbers by id or glob stands over the decorators.
        observe: ``concurrency_observe``: whether limits only watch: ``True`` or ``False`` for every id, or a list of
            ids or globs, where the decorators say it of the others.
        lease_ttl: ``concurrency_lease_ttl``: seconds until the slots of a worker that is silent, but still connected,
            are free.
        id_ttl: ``concurrency_id_ttl``: seconds after which an id that was made for a call, and that nobody has used
            since, is forgotten, and its queue deleted.
        fetch_ahead: ``concurrency_fetch_ahead``: whether a worker may fetch the next message of an id while a short
            task still runs in the slot.
        on_lease_lost: ``concurrency_on_lease_lost``: what happens to a running task whose slot was lost because its
            worker was silent for longer than its lease: ``"continue"`` (it goes on, beside the limit) or
            ``"terminate"`` (prefork only: it is killed, and a copy of its message goes back into the queue).
        metrics_port: ``concurrency_metrics_port``: where each worker serves what it has seen, for Prometheus, or the
            next port that is free; None for nowhere, 0 for any port.
        metrics_host: ``concurrency_metrics_host``: the address that metrics are served on.
        metrics_ids: ``concurrency_metrics_ids``: how many ids have series of their own in what one process serves.
    """

    url: str = field(repr=False)  # it may hold a password, and so may the options
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    namespace: str = "celery"
    default_limit: int | None = 1
    limits: Mapping[str, int | None] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    max_waiting: int | Mapping[str, int | None] | None = None
    observe: bool | tuple[str, ...] | None = None
    lease_ttl: float = 15.0
    id_ttl: float = 3600.0
    fetch_ahead: bool = True
    on_lease_lost: str = "continue"
    metrics_port: int | None = None
    metrics_host: str = "0.0.0.0"
    metrics_ids: int = 100

    @classmethod
    def of(cls, app: Any) -> Settings:
        """Read the settings of a Celery app.

        Raises:
            InvalidSetting: A setting is wrong, or no Redis is named; the message says what would be right.
        """
        conf = app.conf
        url, options = _url(conf)
        known = {
            name: conf.get(f"concurrency_{name}")
            for name in _PLAIN
            if conf.get(f"concurrency_{name}", _UNSET) is not _UNSET
        }
        settings = cls(url=url, options=options, tasks=tasks_of(conf), **known)
        settings._check()
        return settings

    def _check(self) -> None:
        if not isinstance(self.namespace, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", self.namespace):
            raise InvalidSetting(
                "concurrency_namespace", self.namespace, "1 to 64 letters, digits, dots, dashes or underscores"
            )
        if not check_limit(self.default_limit):
            raise InvalidSetting("concurrency_default_limit", self.default_limit, "an int of 1 or more, or None")
        if not isinstance(self.limits, Mapping):
            raise InvalidSetting("concurrency_limits", self.limits, "a dict of limit by id or glob")
        self._check_each("limits", self.limits)
        if isinstance(self.max_waiting, Mapping):
            self._check_each("max_waiting", self.max_waiting)
        elif not check_limit(self.max_waiting):
            expected = "an int of 1 or more, None, or a dict of these by id or glob"
            raise InvalidSetting("concurrency_max_waiting", self.max_waiting, expected)
        self._check_observe()
        shortest = 2 * SHORT_TIER
        if (
            isinstance(self.lease_ttl, bool)
            or not isinstance(self.lease_ttl, (int, float))
            or self.lease_ttl < shortest
        ):
            raise InvalidSetting(
                "concurrency_lease_ttl",
                self.lease_ttl,
                f"{shortest:g} seconds or more: a lease is renewed every second",
            )
        if isinstance(self.id_ttl, bool) or not isinstance(self.id_ttl, (int, float)) or self.id_ttl < SHORTEST_ID_TTL:
            raise InvalidSetting("concurrency_id_ttl", self.id_ttl, f"{SHORTEST_ID_TTL:g} seconds or more")
        if not isinstance(self.fetch_ahead, bool):
            raise InvalidSetting("concurrency_fetch_ahead", self.fetch_ahead, "True or False")
        if self.on_lease_lost not in ("continue", "terminate"):
            raise InvalidSetting("concurrency_on_lease_lost", self.on_lease_lost, '"continue" or "terminate"')
        self._check_metrics()

    def _check_metrics(self) -> None:
        port, host, ids = self.metrics_port, self.metrics_host, self.metrics_ids
        if port is not None and not (type(port) is int and 0 <= port <= 65535):
            raise InvalidSetting("concurrency_metrics_port", port, "a port, 0 for any that is free, or None")
        if not isinstance(host, str) or not host:
            raise InvalidSetting("concurrency_metrics_host", host, "an address of this machine, as 127.0.0.1")
        if type(ids) is not int or ids < 0:
            raise InvalidSetting("concurrency_metrics_ids", ids, "an int of 0 or more")

    def _check_observe(self) -> None:
        observe: Any = self.observe
        if observe is None or isinstance(observe, bool):
            return
        if not isinstance(observe, (list, tuple, set, frozenset)) or not all(
            isinstance(name, str) and name for name in observe
        ):
            raise InvalidSetting("concurrency_observe", observe, "True, False, or a list of ids or globs")

    def _check_each(self, name: str, numbers: Mapping[str, int | None]) -> None:
        for id, number in numbers.items():
            if not isinstance(id, str) or not check_limit(number):
                expected = "an int of 1 or more, or None, for each id or glob"
                raise InvalidSetting(f"concurrency_{name}", {id: number}, expected)


_UNSET = object()
#: Settings that are taken as they are.
_PLAIN = (
    *("namespace", "default_limit", "limits", "max_waiting", "observe", "lease_ttl", "id_ttl", "fetch_ahead"),
    *("on_lease_lost", "metrics_port", "metrics_host", "metrics_ids"),
)


def tasks_of(conf: Any) -> Mapping[str, Mapping[str, Any] | None]:
    """Read ``concurrency_tasks``, which is needed also where no Redis is known.

    What the options may be is checked with the tasks, by the policy.

    Raises:
        InvalidSetting: It has not the right form, or names an option that does not exist.
    """
    tasks = conf.get("concurrency_tasks", _UNSET)
    if tasks is _UNSET:
        return {}
    if not isinstance(tasks, Mapping):
        raise InvalidSetting("concurrency_tasks", tasks, "a dict of options by task name or glob")
    for name, options in tasks.items():
        if not isinstance(name, str) or not (options is None or isinstance(options, Mapping)):
            expected = "a dict of options, or None where no glob after it shall gate, for each task name or glob"
            raise InvalidSetting("concurrency_tasks", {name: options}, expected)
        for option, value in (options or {}).items():
            if option not in TASK_OPTIONS:
                expected = f"for task {name!r} none but the options {', '.join(TASK_OPTIONS)}"
                raise InvalidSetting("concurrency_tasks", {name: {option: value}}, expected)
    return tasks


def _url(conf: Any) -> tuple[str, dict[str, Any]]:
    url = conf.get("concurrency_url")
    if url is not None:
        if not is_redis_url(url):
            shown = redacted(url) if isinstance(url, str) else url
            raise InvalidSetting("concurrency_url", shown, "a redis://, rediss://, unix:// or sentinel:// URL")
        return url, dict(conf.get("concurrency_transport_options") or {})
    broker = conf.broker_read_url or conf.broker_url
    if isinstance(broker, (list, tuple)):
        broker = ";".join(broker)
    if is_redis_url(broker):
        return broker, {**(conf.broker_transport_options or {}), **_ssl(conf.broker_use_ssl)}
    if is_redis_url(conf.result_backend):
        return conf.result_backend, {
            **(conf.result_backend_transport_options or {}),
            **_ssl(conf.redis_backend_use_ssl),
        }
    raise InvalidSetting(
        "concurrency_url",
        None,
        "the URL of a Redis to hold the slots, since neither broker_url nor result_backend is a Redis",
    )


def _ssl(use_ssl: Any) -> dict[str, Any]:
    return dict(use_ssl) if isinstance(use_ssl, dict) else {}
