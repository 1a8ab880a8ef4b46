"""The page below a path of another application, of either kind, and by its command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from celery import Celery

from celery_concurrency_id import InvalidControl
from celery_concurrency_id.control import Concurrency, IdStatus
from celery_concurrency_id.page import ConcurrencyPage
from harness.commands import run_command
from harness.setup import Setup
from page.client import HOST, Client, basic

USAGE, UNAVAILABLE = 2, 69
ANSWER = IdStatus("gpu", 2, "task", 2, None, None, 1, 0, None, 1, 7)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConcurrencyPage]:
    monkeypatch.setattr(Concurrency, "list", lambda self: (ANSWER,))
    monkeypatch.setattr(Concurrency, "pause", lambda self, id, note: ANSWER)
    app = Celery("unit", set_as_current=False, broker="redis://127.0.0.1:1/0")
    yield ConcurrencyPage(app, users={"ops": "hush"}, control=True)
    app.close()


OPS = {"AUTHORIZATION": basic("ops", "hush")}


def test_below_a_path_it_is_the_page_and_elsewhere_the_other_application(page: ConcurrencyPage) -> None:
    def other(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"other at {environ['PATH_INFO']}".encode()]

    client = Client(page.mounted("/ops/limits/", other))

    for path in ("/", "/ops", "/ops/limitss", "/ops/limits-x", "/limits/"):
        assert client.get(path).body == f"other at {path}".encode()
    assert client.get("/ops/limits/", **OPS).headers["Content-Type"].startswith("text/html")
    assert client.get("/ops/limits", **OPS).headers["Location"] == "limits/"
    asked = client.get("/ops/limits/state", **OPS)
    assert asked.json["ids"][0]["id"] == "gpu"
    assert "; Path=/ops/limits/; " in asked.headers["Set-Cookie"]
    assert client.get("/ops/limits/state").status == 401
    assert client.change("ops/limits/pause", {"id": "gpu"}, **OPS).json["id"] == "gpu"


@pytest.mark.parametrize("path", ["", "/", "limits", None])
def test_it_is_mounted_below_a_path_and_nowhere_else(path: Any, page: ConcurrencyPage) -> None:
    with pytest.raises(InvalidControl, match="page: path"):
        page.mounted(path, print)


def test_an_asgi_application_mounts_it(page: ConcurrencyPage) -> None:
    application = page.asgi()

    def ask(method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], Any]:
        said = {"host": HOST, "authorization": OPS["AUTHORIZATION"], "content-length": str(len(body)), **headers}
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http"}
        scope |= {"root_path": "/limits", "path": f"/limits{path}", "raw_path": b"", "query_string": b""}
        scope |= {"server": (HOST, 80), "client": ("127.0.0.1", 1)}
        scope["headers"] = [(name.replace("_", "-").encode(), value.encode()) for name, value in said.items()]
        asyncio.run(application(scope, receive, send))
        start = next(each for each in sent if each["type"] == "http.response.start")
        content = b"".join(each.get("body", b"") for each in sent if each["type"] == "http.response.body")
        told = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return start["status"], told, content

    assert ask("GET", "/")[1]["content-type"].startswith("text/html")
    assert ask("GET", "/", authorization="")[0] == 401
    status, told, content = ask("GET", "/state")
    assert (status, json.loads(content)["ids"][0]["id"]) == (200, "gpu")
    cookie = told["set-cookie"].split(";")[0]
    assert "; Path=/limits/" in told["set-cookie"]
    change = {"content_type": "application/json", "cookie": cookie, "x_csrf_token": cookie.split("=", 1)[1]}
    assert ask("POST", "/pause", b'{"id": "gpu"}', origin=f"http://{HOST}", **change)[0] == 200
    assert ask("POST", "/pause", b'{"id": "gpu"}', origin="http://evil.example.com", **change)[0] == 403


def test_the_command_does_not_let_strangers_in(make_setup: Callable[..., Setup], monkeypatch: Any) -> None:
    setup = make_setup(workers=0)
    words = ["concurrency", "page", "--port", "0"]

    for more, named in (
        (["--control"], "--control needs --user"),
        (["--bind", "0.0.0.0"], "it needs --user"),
        (["--user", "ops"], "needs a password in the environment variable CONCURRENCY_PAGE_PASSWORD"),
    ):
        done = run_command(setup, *words, *more)
        assert done.returncode == USAGE, done
        assert named in " ".join(done.stderr.split())
    done = run_command(setup, "concurrency", "page", "--bind", "127.0.0.1", "--port", str(_taken(setup)))
    assert done.returncode == UNAVAILABLE, done
    assert "cannot listen at 127.0.0.1" in done.stdout + done.stderr


def _taken(setup: Setup) -> int:
    """A port where somebody listens: a Redis."""
    return int(setup.backend.container.celeryconfig["port"])
