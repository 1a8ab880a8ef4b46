"""Who may look and who may change: the application alone, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

import pytest
from celery import Celery

from celery_concurrency_id import InvalidControl, QueuedTask
from celery_concurrency_id.control import Concurrency, IdStatus
from celery_concurrency_id.page import ConcurrencyPage
from page.client import HOST, Client, basic

USERS = {"ops": "hush-hush", "zoë": "pass:wörd"}
OPS = {"AUTHORIZATION": basic("ops", "hush-hush")}
ANSWER = IdStatus("gpu", 2, "task", 2, None, None, 1, 0, None, 1, 7)


def nothing() -> None:
    """The body of the task."""


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The changes that are made, and by whom; there is no Redis."""
    made: list[tuple[Any, ...]] = []
    for verb in ("set", "reset", "pause", "resume"):

        def change(self: Any, *said: Any, verb: str = verb) -> IdStatus:
            made.append((self._by, verb, *said))
            return ANSWER

        monkeypatch.setattr(Concurrency, verb, change)
    monkeypatch.setattr(Concurrency, "list", lambda self: (ANSWER,))
    return made


@pytest.fixture
def page(changed: Any) -> Iterator[Callable[..., Client]]:
    """Make a page with these options."""
    app = Celery("unit", set_as_current=False, broker="redis://:very-secret@127.0.0.1:1/0")
    app.task(base=QueuedTask, name="unit.render", concurrency_id="gpu", shared=False)(nothing)
    yield lambda **options: Client(ConcurrencyPage(app, **options))
    app.close()


# -- looking


def test_without_users_anybody_looks_and_nobody_changes(page: Any, changed: list[Any]) -> None:
    client = page()

    told = client.get("/state")

    assert (told.status, told.json["control"], told.json["user"]) == (200, False, None)
    assert client.change("pause", {"id": "gpu"}).status == 403
    assert not changed


def test_a_user_looks_by_password(page: Any) -> None:
    client = page(users=USERS)
    for path in ("/", "/state", "/page.js", "/nothing", ""):
        asked = client.get(path)
        assert asked.status == 401, path
        assert asked.headers["WWW-Authenticate"].startswith('Basic realm="')
    for wrong in ("ops:wrong", "ops:", "nobody:hush-hush", ":", "ops", "OPS:hush-hush", "zoë:pass"):
        user, _, password = wrong.partition(":")
        assert client.get("/state", AUTHORIZATION=basic(user, password)).status == 401, wrong
    for wrong in ("Basic", "Basic %%%", "Basic /w==", "Bearer hush-hush", "Digest x", OPS["AUTHORIZATION"] + "x"):
        assert client.get("/state", AUTHORIZATION=wrong).status == 401, wrong

    assert client.get("/state", **OPS).json["user"] == "ops"
    assert client.get("/state", AUTHORIZATION=basic("zoë", "pass:wörd")).json["user"] == "zoë"


def test_an_application_says_itself_who_looks(page: Any) -> None:
    asked: list[str] = []

    def authenticate(environ: dict[str, Any]) -> Any:
        asked.append(environ["PATH_INFO"])
        return {"ok": "ann", "odd": True}.get(environ.get("HTTP_X_SESSION", ""))

    client = page(authenticate=authenticate)

    assert client.get("/").status == 403
    assert client.get("/state", X_SESSION="ok").json["user"] == "ann"
    assert asked == ["/", "/state"]
    with pytest.raises(TypeError, match="True"):
        client.get("/", X_SESSION="odd")


def test_a_page_with_names_of_its_own_is_served_under_no_other(page: Any) -> None:
    client = page(hosts=["localhost", "::1"])

    for host in ("localhost", "LOCALHOST:5580", "[::1]:5580", "[::1]"):
        assert client.get("/state", HOST=host).status == 200, host
    for host in ("evil.example.com", "evil.example.com:5580", "localhost.example.com", "127.0.0.1"):
        assert client.get("/state", HOST=host).status == 421, host


# -- changing


@pytest.mark.parametrize(
    "options",
    [
        {"control": True},
        {"control": lambda user: True},
        {"control": True, "users": {}},
        {"control": "yes", "users": USERS},
        {"users": {"ops": ""}},
        {"users": {"ops": None}},
        {"users": {"a:b": "c"}},
        {"users": USERS, "authenticate": lambda environ: "x"},
        {"authenticate": "ops"},
        {"hosts": "localhost"},
        {"origins": "https://ops.example.com"},
        {"interval": 0.1},
        {"interval": True},
    ],
    ids=" ".join,  # of their names: the same in every process of a run
)
def test_what_cannot_be_right_is_refused_at_the_start(page: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidControl, match="page: ") as refused:
        page(**options)

    assert "hush-hush" not in str(refused.value)


def test_a_change_is_made_in_the_name_of_the_user(page: Any, changed: list[Any]) -> None:
    client = page(users=USERS, control=True)
    assert client.get("/state", **OPS).json["control"] is True

    said = {"id": "gpu", "limit": "4", "expires": 60, "note": "sale"}
    assert client.change("set", said, **OPS).json["id"] == "gpu"
    assert client.change("set", {"id": "gpu", "limit": "none"}, **OPS).status == 200
    assert client.change("pause", {"id": "gpu", "note": "disk"}, AUTHORIZATION=basic("zoë", "pass:wörd")).status == 200
    assert client.change("resume", {"id": "gpu"}, **OPS).status == 200
    assert client.change("reset", {"id": "gpu"}, **OPS).status == 200

    assert changed == [
        ("ops", "set", "gpu", 4, 60, "sale"),
        ("ops", "set", "gpu", None, None, None),
        ("zoë", "pause", "gpu", "disk"),
        ("ops", "resume", "gpu"),
        ("ops", "reset", "gpu"),
    ]


def test_some_look_and_others_change(page: Any, changed: list[Any]) -> None:
    client = page(users=USERS, control=lambda user: user == "ops")

    zoe = {"AUTHORIZATION": basic("zoë", "pass:wörd")}
    assert client.get("/state", **zoe).json["control"] is False
    assert client.change("pause", {"id": "gpu"}, **zoe).status == 403
    assert client.change("pause", {"id": "gpu"}).status == 401
    assert not changed
    assert client.change("pause", {"id": "gpu"}, **OPS).status == 200


@pytest.mark.parametrize("command", ["set", "reset", "pause", "resume"])
def test_another_page_changes_nothing_in_a_users_name(command: str, page: Any, changed: list[Any]) -> None:
    """The browser sends the password, and where it is sloppy the cookie, with what any page makes it ask for."""
    client = page(users=USERS, control=True, origins=["https://limits.example.org"])
    said = {"id": "gpu", "limit": "4"}
    ours = {"ORIGIN": f"http://{HOST}", **OPS}
    assert client.get("/state", **OPS).status == 200
    token = client.cookies["concurrency_csrf"]

    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
        asked = client.ask(method, f"/{command}", said, X_CSRF_TOKEN=token, **ours)
        assert (asked.status, asked.headers["Allow"]) == (405, "POST"), method
    for origin in (
        "http://evil.example.com",
        "null",
        "",
        f"http://{HOST}.evil.com",
        f"http://{HOST}:81",
        f"ftp://{HOST}",
        "http://[x",
        HOST,
    ):
        assert client.change(command, said, **{**ours, "ORIGIN": origin}).status == 403, origin
    assert client.ask("POST", f"/{command}", said, X_CSRF_TOKEN=token, **OPS).status == 403, "no origin at all"
    for wrong in ("", "x", token[:-1], token + "x"):
        assert client.change(command, said, X_CSRF_TOKEN=wrong, **OPS).status == 403, wrong
    assert Client(client.application).ask("POST", f"/{command}", said, X_CSRF_TOKEN="", **ours).status == 403, (
        "no cookie"
    )
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert client.change(command, said, CONTENT_TYPE=kind, **OPS).status == 415, kind
    assert not changed

    assert client.change(command, said, **OPS).status == 200
    assert client.change(command, said, **{**OPS, "ORIGIN": "https://limits.example.org"}).status == 200
    assert len(changed) == 2


def test_the_token_is_given_once_to_this_page_alone(page: Any) -> None:
    client = page(users=USERS)

    first = client.ask("GET", "/state", mount="/ops/limits", **OPS)
    again = client.ask("GET", "/state", mount="/ops/limits", **OPS)

    assert first.headers["Set-Cookie"].split("; ")[1:] == ["Path=/ops/limits/", "SameSite=Strict"]
    assert "Set-Cookie" not in again.headers
    client.cookies.clear()
    safe = client.ask("GET", "/state", **{"wsgi.url_scheme": "https"}, **OPS)
    assert "; Secure" in safe.headers["Set-Cookie"]
    assert safe.headers["Set-Cookie"].split(";")[0] != first.headers["Set-Cookie"].split(";")[0]


@pytest.mark.parametrize("body", [b"", b"[]", b'"pause"', b"{", b"\xff", b"[" * 5000, b"null"])
def test_what_is_no_object_is_no_change(body: bytes, page: Any, changed: list[Any]) -> None:
    assert page(users=USERS, control=True).change("pause", body, **OPS).status == 400
    assert not changed


@pytest.mark.parametrize("length", ["100000000", "-1", "x", "8193"])
def test_a_change_is_short(length: str, page: Any, changed: list[Any]) -> None:
    answer = page(users=USERS, control=True).change("pause", {"id": "gpu"}, CONTENT_LENGTH=length, **OPS)
    assert answer.status == 413
    assert not changed


@pytest.mark.parametrize(
    "query", ["&".join(f"q{number}=1" for number in range(30)), "id=%ff%fe&q=%00", "=&=&", "q=" + "x" * 9000]
)
def test_an_odd_query_is_answered(query: str, page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(self: Any, id: str, head: int) -> Any:
        id.encode()
        raise InvalidControl("show", "id", id, "another")

    monkeypatch.setattr(Concurrency, "show", unknown)
    assert page().get(f"/state?{query}").status in (200, 400, 404)


def test_half_a_sign_is_no_id(page: Any, changed: list[Any]) -> None:
    client = page(users=USERS, control=True)

    assert client.change("pause", b'{"id": "\\ud800"}', **OPS).status == 200
    assert changed == [("ops", "pause", "?", None)]
