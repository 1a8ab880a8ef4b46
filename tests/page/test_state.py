"""What the page tells and how: the application over a control that says what the test wants."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from celery import Celery

from celery_concurrency_id import InvalidControl, SemaphoreUnavailable
from celery_concurrency_id.control import Away, Concurrency, Holder, IdDetails, IdStatus, Override, Pause, Waiting
from celery_concurrency_id.page import ConcurrencyPage
from celery_concurrency_id.page import reader as reader_module
from celery_concurrency_id.page.history import SPAN, STEP, History
from celery_concurrency_id.page.reader import Shared
from page.client import Client

NASTY = "</script><script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\u2028"


def status(id: str, running: int = 0, waiting: int = 0, **more: Any) -> IdStatus:
    return replace(IdStatus(id, 2, "task", 2, None, None, running, waiting, None, 1, 0), **more)


class Told:
    """What the control says: everything from here, counted."""

    def __init__(self) -> None:
        self.ids: list[IdStatus] = [status("gpu", 1, 3)]
        self.holders: tuple[Holder, ...] = ()
        self.head: tuple[Waiting, ...] = ()
        self.away: tuple[Away, ...] = ()
        self.trouble = ""
        self.lists = self.shows = 0

    def list(self, control: Any) -> tuple[IdStatus, ...]:
        self.lists += 1
        if self.trouble:
            raise SemaphoreUnavailable(self.trouble)
        return tuple(self.ids)

    def show(self, control: Any, id: str, head: int = 10) -> IdDetails:
        self.shows += 1
        if self.trouble:
            raise SemaphoreUnavailable(self.trouble)
        for each in self.ids:
            if each.id == id:
                return IdDetails(each, self.holders, self.head[:head], self.away)
        raise InvalidControl("show", "id", id, "a concurrency id such as 'gpu'")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    told = Told()
    monkeypatch.setattr(Concurrency, "list", lambda self: told.list(self))
    monkeypatch.setattr(Concurrency, "show", lambda self, *said: told.show(self, *said))
    return told


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in one place: seconds that a test moves."""
    now = [1_000_000.0]

    class Clock:
        time = staticmethod(lambda: now[0])
        monotonic = staticmethod(lambda: now[0])

    monkeypatch.setattr(reader_module, "time", Clock)
    return now


@pytest.fixture
def client(told: Told) -> Iterator[Client]:
    app = Celery("unit", set_as_current=False, broker="redis://:very-secret@127.0.0.1:1/0")
    yield Client(ConcurrencyPage(app))
    app.close()


# -- files and headers


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/draw.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/state", "application/json"),
        ("/nothing", "application/json"),
    ],
)
def test_every_answer_says_what_it_is_and_what_it_may(path: str, kind: str, client: Client) -> None:
    answer, empty = client.get(path), client.ask("HEAD", path)

    assert answer.headers["Content-Type"] == kind
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'" and policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == ("private, no-cache" if "ETag" in answer.headers else "no-store")
    assert answer.body and not empty.body and empty.status == answer.status
    assert client.ask("POST", path, {}).status == 405
    if "ETag" in answer.headers:
        kept = client.get(path, IF_NONE_MATCH=answer.headers["ETag"])
        assert (kept.status, kept.body) == (304, b"")


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/").body.decode()
    scripts = "".join(client.get(f"/{name}").body.decode() for name in ("page.js", "draw.js"))
    styles = client.get("/page.css").body.decode()

    assert not re.search(r"<script(?![^>]* src=)|<style|\bstyle=|\son\w+=", page)
    files = set(re.findall(r'(?:src|href)="([^"#]+)"', page))
    assert files == {"icon.svg", "page.css", "page.js"}
    assert all(client.get(f"/{name}").status == 200 for name in files)
    addresses = re.findall(r"\w+://[^\s\"']*", page + scripts + styles)
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}, "the name of SVG, no address"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(", scripts)


@pytest.mark.parametrize("path", ["//", "/../application.py", "/static/page.js", "/page.js/", "/%2e%2e/x", "/page.py"])
def test_there_is_nothing_else(path: str, client: Client) -> None:
    assert client.get(path).status == 404


def test_where_it_is_mounted_without_a_slash_leads_to_where_its_links_are_right(client: Client) -> None:
    answer = client.ask("GET", "", mount="/ops/limits")

    assert (answer.status, answer.headers["Location"]) == (308, "limits/")


# -- what messages say


def test_what_messages_say_stays_data(client: Client, told: Told) -> None:
    told.ids = [status(NASTY, 1, 1, pause=Pause(NASTY, NASTY, 1.0), override=Override(3, None, NASTY, NASTY, 1.0))]
    told.holders = (Holder("1", NASTY, NASTY, 1.0, 2.0, 0.1),)
    told.head = (Waiting(NASTY, 0, 0, 1.0, 2.0),)

    answer = client.get(f"/state?q=img&id={_quoted(NASTY)}")

    assert answer.status == 200
    assert not re.search(rb"[<>&]|\xe2\x80\xa8", answer.body)
    (row,), one = answer.json["ids"], answer.json["id"]
    assert row["id"] == one["id"] == row["pause"]["note"] == row["override"]["by"] == NASTY
    assert one["holders"][0]["task"] == one["holders"][0]["worker"] == one["head"][0]["task"] == NASTY


def test_no_secret_is_told(client: Client, told: Told) -> None:
    told.trouble = "connect: redis://:very-secret@10.0.0.1:6379/0 refused"

    assert "10.0.0.1" in client.get("/state").json["trouble"]["said"]
    for path in ("/", "/state", "/page.js", "/nothing", "/state?id=gpu"):
        assert b"very-secret" not in client.get(path).body


def _quoted(id: str) -> str:
    from urllib.parse import quote

    return quote(id, safe="")


def test_an_id_that_nobody_knows_is_not_found(client: Client) -> None:
    answer = client.get("/state?id=gup")

    assert answer.status == 404
    assert answer.error == "show: id 'gup' is refused: expected a concurrency id such as 'gpu'"


# -- how much


def test_a_thousand_ids_make_a_small_answer(client: Client, told: Told) -> None:
    told.ids = [status(f"tenant-{number:04}" + "x" * 180, number % 2, number % 7) for number in range(1000)]
    told.ids[500] = stuck = status("tenant-stuck", 0, 1, workers=0)
    client.get("/state")

    answer = client.get("/state")

    assert (answer.json["total"], answer.json["found"], len(answer.json["ids"])) == (1000, 1000, 50)
    assert len(answer.body) < 100_000
    assert answer.json["ids"][0]["id"] == stuck.id, "what is stuck comes first, then the busiest"
    busy = [each["running"] + each["waiting"] for each in answer.json["ids"][1:]]
    assert busy == sorted(busy, reverse=True) and busy[0] == 7
    found = client.get("/state?q=TENANT+0999").json
    assert ([each["id"][:11] for each in found["ids"]], found["found"]) == (["tenant-0999"], 1)
    assert client.get("/state?q=nobody").json["ids"] == []


def test_an_id_with_thousands_of_tasks_makes_a_small_answer(client: Client, told: Told) -> None:
    told.ids = [status("gpu", 5000, 100_000, limit=None)]
    told.holders = tuple(Holder(str(token), f"task-{token}", "w1@host", 1.0, 2.0, 0.1) for token in range(5000))
    told.head = tuple(Waiting(f"task-{rank}", 0, rank, 1.0, 2.0) for rank in range(500))
    away = Away("1", "task", "w1@host", 1.0, 3.0, 0.1)
    told.away = (*[replace(away, wants_since=2.0, waits=2.0, ahead=0)] * 300, *[away] * 4000)

    one = client.get("/state?id=gpu").json["id"]

    assert (len(one["holders"]), one["more_holders"]) == (100, 4900)
    assert (len(one["head"]), one["more_waiting"]) == (20, 99_980)
    assert (one["away"], one["returning"]) == (4300, 300)


# -- looks


def test_many_who_watch_share_one_look(client: Client, told: Told, clock: list[float]) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: Client(client.application).get("/state?id=gpu").status, range(40)))
    assert set(answers) == {200}
    assert (told.lists, told.shows) == (1, 1)

    clock[0] += 1.9
    client.get("/state?id=gpu")
    assert (told.lists, told.shows) == (1, 1)
    clock[0] += 0.2
    client.get("/state")
    assert (told.lists, told.shows) == (2, 1), "nobody watches the one any more"


def test_nobody_who_watches_waits_for_the_look_of_another() -> None:
    go, looking = threading.Event(), threading.Event()
    looks: list[int] = []

    def look() -> int:
        looks.append(len(looks))
        if looks[-1]:
            looking.set()
            assert go.wait(60)
        return looks[-1]

    shared = Shared(look, 0.0)
    assert shared.ask().value == 0
    shared.expire()
    other = threading.Thread(target=shared.ask)
    other.start()
    assert looking.wait(60)

    assert shared.ask().value == 0, "what is known, at once"
    go.set()
    other.join(60)
    assert shared.value == 1


def test_a_look_that_began_before_a_change_does_not_last(clock: list[float]) -> None:
    shared: Any = None
    looks: list[int] = []

    def look() -> int:
        looks.append(len(looks))
        if looks == [0]:
            shared.expire()  # somebody changes something meanwhile
        return looks[-1]

    shared = Shared(look, 2.0)

    assert [shared.ask().value for _ in range(4)] == [0, 1, 1, 1]


def test_looks_that_take_long_are_made_less_often(clock: list[float]) -> None:
    looks: list[float] = []

    def look() -> float:
        looks.append(clock[0])
        clock[0] += 1.0
        return clock[0]

    shared = Shared(look, 2.0)
    for _ in range(40):
        shared.ask()
        clock[0] += 0.5

    assert len(looks) == 3, "a tenth of the time"


def test_while_redis_is_away_the_last_state_is_told_as_old(client: Client, told: Told, clock: list[float]) -> None:
    assert client.get("/state?id=gpu").json["trouble"] is None
    seen = clock[0]
    told.trouble = "list: Connection refused"
    clock[0] += 5
    since = clock[0]
    for _ in range(3):
        answer = client.get("/state?id=gpu")
        assert answer.status == 200
        assert answer.json["trouble"] == {"since": since, "said": told.trouble, "seen": seen}
        assert answer.json["ids"][0]["waiting"] == answer.json["id"]["waiting"] == 3
        clock[0] += 5
    told.trouble = ""

    assert client.get("/state?id=gpu").json["trouble"] is None


def test_a_page_that_has_never_seen_redis_says_so(client: Client, told: Told) -> None:
    told.trouble = "list: Connection refused"

    answer = client.get("/state?id=gpu")

    assert answer.status == 200
    assert answer.json["trouble"]["seen"] is None
    assert (answer.json["ids"], answer.json["id"]) == ([], None)


# -- the last minutes


def test_the_last_minutes_have_the_most_that_was_seen_and_gaps_where_nobody_looked() -> None:
    history, now = History(), 10_000.0

    for at, running, waiting in ((now - 575, 2, 9), (now - 30, 1, 5), (now - 28, 2, 4), (now, 1, 0)):
        history.add(at, [status("gpu", running, waiting)])

    line = history.line("gpu", now, STEP)
    assert len(line) == SPAN // STEP
    assert line[-1] == (1, 0, 2)
    assert line[-7] == (2, 5, 2)
    assert {place: point for place, point in enumerate(line) if point} == {4: (2, 9, 2), 113: (2, 5, 2), 119: (1, 0, 2)}
    small = history.line("gpu", now, 4 * STEP)
    assert len(small) == SPAN // STEP // 4
    assert [point for point in small if point] == [(2, 9, 2), (2, 5, 2), (1, 0, 2)]
    assert history.line("other", now, STEP) == [None] * (SPAN // STEP)


def test_what_is_older_is_forgotten_and_so_are_ids_that_nobody_sees_any_more() -> None:
    history = History()
    history.add(0.0, [status("gone", 1)])
    for at in range(0, 3 * SPAN, 2):
        history.add(float(at), [status("gpu", 1)])

    assert set(history._seen) == {"gpu"}
    assert len(history._seen["gpu"]) == SPAN // STEP


def test_the_rate_is_that_of_the_last_minute() -> None:
    history = History()
    assert history.rate("gpu", 0.0) is None
    for at, taken in ((0, 0), (100, 5000), (130, 5015), (160, 5030)):
        history.add(float(at), [status("gpu", taken=taken)])

    assert history.rate("gpu", 160.0) == 0.5


@pytest.mark.parametrize("ids", [201, 5000])
def test_the_minutes_of_the_busiest_ids_are_kept_and_of_those_that_are_watched(
    ids: int, client: Client, told: Told, clock: list[float]
) -> None:
    told.ids = [status(f"id-{number:05}", 0, 1) for number in range(ids)]
    watched = f"/state?id={told.ids[-1].id}"
    client.get(watched)
    clock[0] += 5
    client.get(watched)

    reader: Any = client.application
    assert len(reader._reader.history._seen) == 201
