"""From a URL to a Redis client: plain, TLS, Unix socket or Sentinel."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from ..exceptions import InvalidSetting

__all__ = ("connect", "is_redis_url", "redacted")

#: Seconds for a connection to be made, and for a command to be answered. redis-py's own defaults differ from release
#: to release, so both are always given.
CONNECT_TIMEOUT = 1.0
COMMAND_TIMEOUT = 2.0

_QUERY = ("db", "virtual_host", "username", "password")
_EXPECTED = "a redis://, rediss://, unix:// or sentinel:// URL, with signs such as / and @ in a password quoted"
_SCHEMES = ("redis", "rediss", "unix", "redis+socket", "sentinel")


def is_redis_url(url: Any) -> bool:
    """Say whether a URL names a Redis that can hold the semaphore."""
    return isinstance(url, str) and _scheme(url) in _SCHEMES


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def redacted(url: str) -> str:
    """Return a URL without its passwords, for logs and errors; also one that is no URL at all.

    What cannot be told from a password is hidden with it: a password may hold any sign that somebody forgot to quote.
    """
    url = re.sub(r"(password=)[^&;]*", r"\1**", url, flags=re.IGNORECASE)
    # Everything from the first colon after a user's name to the last @ that may end a password.
    parts = re.split(r";(?=[\w+]+://)", url)
    return ";".join(re.sub(r"(://[^:@/]*):.*@", r"\1:**@", part, flags=re.DOTALL) for part in parts)


def connect(url: str, options: dict[str, Any] | None = None, **more: Any) -> redis.Redis:
    """Return a client for the URL; no connection is made yet.

    Retries are the caller's: a retried script call could take effect twice, and an outage has to be seen.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, ``redis+socket://``, or ``sentinel://`` (several hosts are
            separated by ``;``, as kombu has it).
        options: ``master_name``, ``sentinel_kwargs``, and TLS options such as ``ssl_ca_certs``.
        **more: Passed to the client and stronger than anything else.

    Raises:
        InvalidSetting: The URL's scheme is not one of these, or it is no URL.
    """
    try:
        return _connect(url, options, more)
    except (ValueError, TypeError) as exc:
        if isinstance(exc, InvalidSetting):
            raise
        # Not with the cause, which may quote a part of the password.
        raise InvalidSetting("concurrency_url", redacted(url), _EXPECTED) from None


def _connect(url: str, options: dict[str, Any] | None, more: dict[str, Any]) -> redis.Redis:
    options = dict(options or {})
    keywords: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": COMMAND_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "health_check_interval": 0,
        "protocol": 2,
        **{key: value for key, value in options.items() if key.startswith("ssl_")},
        **more,
    }
    scheme = _scheme(url)
    if scheme == "sentinel":
        return _from_sentinels(url, options, keywords)
    if scheme not in _SCHEMES:
        raise InvalidSetting("concurrency_url", redacted(url), _EXPECTED)
    url = _plain(url)
    if scheme == "redis+socket":
        url = "unix" + url[len("redis+socket") :].replace("virtual_host=", "db=")
    if scheme != "rediss" and any(key.startswith("ssl_") for key in keywords):
        keywords = {key: value for key, value in keywords.items() if not key.startswith("ssl_")}
    # Celery writes CERT_REQUIRED where redis-py wants "required".
    for name in ("CERT_REQUIRED", "CERT_OPTIONAL", "CERT_NONE"):
        url = url.replace(f"ssl_cert_reqs={name}", f"ssl_cert_reqs={name[5:].lower()}")
    return redis.Redis.from_url(url, **keywords)


def _plain(url: str) -> str:
    """Return the first of several brokers' URLs, without the options that only kombu knows."""
    first, _, query = url.split(";")[0].partition("?")
    tls = first.startswith("rediss:")
    ours = [(key, value) for key, value in parse_qsl(query) if key in _QUERY or (tls and key.startswith("ssl_"))]
    return f"{first}?{urlencode(ours)}" if ours else first


def _from_sentinels(url: str, options: dict[str, Any], keywords: dict[str, Any]) -> redis.Redis:
    hosts, database, password, username = [], 0, None, None
    master = options.get("master_name")
    for part in url.split(";"):
        split = urlsplit(part)
        hosts.append((split.hostname or "localhost", split.port or 26379))
        database = int(split.path.strip("/") or database)
        password, username = unquote(split.password or "") or password, unquote(split.username or "") or username
        master = dict(parse_qsl(split.query)).get("master_name", master)
    if not master:
        raise InvalidSetting("concurrency_url", redacted(url), "a master_name, as ?master_name=NAME or in the options")
    sentinel = Sentinel(
        hosts,
        sentinel_kwargs={"socket_timeout": CONNECT_TIMEOUT, **(options.get("sentinel_kwargs") or {})},
        socket_timeout=keywords["socket_timeout"],
    )
    client: redis.Redis = sentinel.master_for(master, db=database, password=password, username=username, **keywords)
    return client
