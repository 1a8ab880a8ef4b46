"""Passwords are in no error, no repr and no listing of settings; and nothing that a message says is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

import celery_concurrency_id
from celery_concurrency_id import ConcurrencyError, InvalidSetting
from celery_concurrency_id.policy import policy_of
from celery_concurrency_id.producer import waiting_key
from celery_concurrency_id.semaphore import scripts
from celery_concurrency_id.semaphore.announcer import Announcer
from celery_concurrency_id.semaphore.client import Client
from celery_concurrency_id.semaphore.connect import connect, redacted
from celery_concurrency_id.settings import Settings

PACKAGE = Path(celery_concurrency_id.__file__).parent

#: URLs whose passwords all hold the word "sesame".
URLS = [
    "redis://:sesame@host:6379/0",
    "redis://user:sesame@host:6379/0",
    "rediss://user:op%40en%2Fsesame@host/0",
    "redis://:op@en/sesame@host/0",
    "redis://:op:en:sesame;@host/0",
    "redis://host:6379/0?password=sesame",
    "redis://host/0?db=1&Password=op%40en%20sesame&x=1",
    "redis://host/0?password=op@sesame",
    "unix://:sesame@/run/redis.sock?db=0",
    "unix:///run/redis.sock?password=sesame",
    "sentinel://:sesame@one:26379;sentinel://:sesame@two:26379/0?master_name=m",
    "redis://:sesame@[bad/0",
    "redis://:sesame@host:port/0",
    "redis://:sesame/host",
    "amqp://user:sesame@host//",
]


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_shown_without_its_password(url: str) -> None:
    shown = redacted(url)

    # One without an @ after it was meant for a password, but says a port.
    assert "sesame" not in shown or url == "redis://:sesame/host"
    assert "**" in shown or url == "redis://:sesame/host"


def test_a_url_without_a_password_is_shown_as_it_is() -> None:
    for url in ("redis://host:6379/0", "redis://user@host", "unix:///run/a.sock?db=0", "sentinel://a:1;sentinel://b:2"):
        assert redacted(url) == url


def test_of_several_hosts_all_are_shown() -> None:
    shown = redacted("sentinel://:sesame@one:26379;sentinel://:sesame@two:26379/0")

    assert shown == "sentinel://:**@one:26379;sentinel://:**@two:26379/0"


@pytest.mark.parametrize("url", URLS)
def test_errors_and_reprs_have_no_password(url: str, make_app: Any) -> None:
    said = []
    try:
        app = make_app(concurrency_url=url, concurrency_transport_options={"password": "sesame", "master_name": "m"})
        settings = Settings.of(app)
        said += [repr(settings), str(settings)]
        said += [repr(Announcer(url, "n", settings.options)), repr(Client(url, "n", dict(settings.options)))]
    except ConcurrencyError as exc:
        said += [str(exc), repr(exc)]
        assert exc.__cause__ is None and exc.__suppress_context__ is (exc.__context__ is not None)
    assert said
    if url != "redis://:sesame/host":
        assert not [text for text in said if "sesame" in text]


@pytest.mark.parametrize("url", ["redis://:sesame@[bad/0", "redis://:sesame@host:port/0"])
def test_what_is_no_url_is_an_error_that_says_what_would_be(url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"concurrency_url=.*is refused: expected a redis://"):
        connect(url)


def test_celery_hides_the_url_where_it_lists_settings(make_app: Any, gate: Any) -> None:
    app: Celery = make_app(concurrency_url="redis://:sesame@host/0", broker_url="redis://:sesame@host/0")
    app.conf.concurrency_transport_options = {"sentinel_kwargs": {"password": "sesame"}, "master_name": "mymaster"}
    gate(app)

    assert policy_of(app).settings.url == "redis://:sesame@host/0"
    for listed in (app.conf.humanize(with_defaults=True, censored=True), repr(app.conf.table(censored=True))):
        assert "concurrency_url" in listed and "mymaster" in listed
        assert "sesame" not in listed


@pytest.mark.parametrize("retries", [2**31, 10**400, -1, True, "3", None, 2.0, [1]])
def test_retries_that_are_no_number_of_retries_count_as_none(retries: Any) -> None:
    known = waiting_key("id", retries)[1]

    assert (known, type(known)) == (0, int)


@pytest.mark.parametrize("retries", [0, 3, 2**31 - 1])
def test_retries_are_part_of_what_a_waiting_task_is_called(retries: int) -> None:
    assert waiting_key("id", retries) == ("id", retries)


@pytest.mark.parametrize(
    "task_id", ["x" * 129, "x" * 1_000_000, "鍵" * 43, "\ud800", b"\xff" * 200, ["x"] * 50, {"x": "y" * 200}, 10**200]
)
def test_ids_that_are_too_long_or_no_text_become_short_text(task_id: Any) -> None:
    name, _ = waiting_key(task_id, 0)

    assert 0 < len(name.encode()) <= 128
    assert waiting_key(task_id, 0) == waiting_key(task_id, 0)


def test_ids_that_differ_stay_different() -> None:
    odd = ["a", "\ud800", "\ud801", "?", "x" * 129, "x" * 130, "'] redis.call('FLUSHALL') --", "%s", "a*"]

    assert len({waiting_key(each, 0) for each in odd}) == len(odd)
    assert waiting_key("'] redis.call('FLUSHALL') --", 0)[0] == "'] redis.call('FLUSHALL') --"


def trees() -> Iterator[tuple[Path, ast.AST]]:
    files = list(PACKAGE.rglob("*.py"))
    assert len(files) > 20
    for file in files:
        yield file, ast.parse(file.read_text(encoding="utf-8"))


def test_nothing_is_unpickled_or_evaluated() -> None:
    for file, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(each.name for each in node.names)]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = [node.func.id]
            else:
                continue
            refused = {"pickle", "cPickle", "marshal", "shelve", "dill", "eval", "exec", "compile"}
            assert not refused & {part for name in names for part in name.split(".")}, f"{file}:{node.lineno}"


def test_scripts_are_text_of_the_package_and_run_no_other() -> None:
    for verb in scripts.VERBS:
        source = re.sub(r"(?m)--.*$", "", scripts.load(verb).source)
        assert not re.search(r"\b(loadstring|load|dofile|require|setfenv)\b", source)
        # Commands are named by the script, keys begin with the namespace, and no pattern comes from an argument.
        for call in re.findall(r"redis\.(?:p?call)\((.*)", source):
            assert re.match(r"'[A-Z]+'", call), call
        assert "'KEYS'" not in source and "'SCAN'" not in source and "'EVAL" not in source
        assert re.findall(r"string\.match\(\w+, (?!')", source) == []
