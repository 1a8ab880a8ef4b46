"""``celery concurrency``: real processes, what they print, and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from celery_concurrency_id import Concurrency
from harness.commands import run_command
from harness.setup import Setup
from harness.waiting import wait

USAGE, UNAVAILABLE = 2, 69


@pytest.fixture
def say(celery_setup: Setup) -> Iterator[Callable[..., str]]:
    """Run a command of the group, and return what it prints; fails where its exit code is another one."""

    def say(*words: str, code: int = 0, answer: str = "") -> str:
        done = run_command(celery_setup, "concurrency", *words, answer=answer)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 or done.stdout else done.stderr

    yield say
    control = Concurrency(celery_setup.app)
    for id in ("one", "two"):
        control.reset(id)
        control.resume(id)


def test_the_group_says_what_it_can_do(say: Callable[..., str]) -> None:
    told = say("--help")

    commands = [
        "list",
        "show",
        "why",
        "set",
        "reset",
        "pause",
        "resume",
        "drain",
        "purge",
        "release",
        "watch",
        "doctor",
    ]
    assert {line.split()[0] for line in told.split("Commands:")[1].splitlines() if line.strip()} >= set(commands)


def test_a_limit_is_set_seen_and_reset(say: Callable[..., str], celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    results = celery_setup.send_many("two", 4, gate=gate)
    celery_setup.wait_running(2, "two")

    assert json.loads(say("set", "two", "3", "--expires", "10m", "--note", "sale", "--json"))["limit"] == 3

    celery_setup.wait_running(3, "two")
    (row,) = [line for line in say("list").splitlines() if line.startswith("two ")]
    assert row.split()[1] == "3" and "override by " in row and "else 2" in row
    told = say("show", "two")
    assert "sale" in told and all(told.count(run.task) == 1 for run in celery_setup.running("two"))
    details = json.loads(say("show", "two", "--json"))
    assert len(details["holders"]) == 3
    assert details["status"]["override"]["note"] == "sale"
    assert 500 < details["status"]["override"]["until"] - details["status"]["override"]["at"] <= 600
    assert "two: limit 2 (task)" in say("reset", "two")
    gate.open()
    celery_setup.wait_ended(results)


def test_why_a_task_does_not_run(say: Callable[..., str], celery_setup: Setup) -> None:
    assert say("pause", "one", "--note", "disk full").endswith(" paused\n")
    result = celery_setup.send("one")
    wait(lambda: Concurrency(celery_setup.app).why(result.id).state == "waiting", what="it is announced")

    told = say("why", result.id)

    assert told.startswith(f"{result.id}: waiting in 'one', rank 0")
    assert "disk full" in told
    assert json.loads(say("why", result.id, "--json"))["state"] == "waiting"
    say("resume", "one")
    celery_setup.wait_ended([result])

    # By now it is known how long such tasks take.
    gate = celery_setup.gate()
    running = celery_setup.send("one", gate=gate)
    celery_setup.wait_running(1, "one")
    results = celery_setup.send_many("one", 2)
    wait(lambda: results[1].position().rank == 1, what="it is announced")
    told = say("why", results[1].id)
    assert told.startswith(f"{results[1].id}: waiting in 'one', rank 1")
    assert "it is expected to start " in told
    position = json.loads(say("why", results[1].id, "--json"))["position"]
    assert position["rank"] == 1 and position["starts_in"]["high"] > 0 and position["ends_in"]["high"] > 0
    details = json.loads(say("show", "one", "--json"))
    assert [each["name"] for each in (*details["holders"], *details["head"])] == ["one"] * 3
    assert say("show", "one").count(" one ") == 3
    gate.open()
    celery_setup.wait_ended([running, *results])


def test_tasks_that_gave_their_slots_back_are_shown(say: Callable[..., str], celery_setup: Setup) -> None:
    control = Concurrency(celery_setup.app)
    away, gate = celery_setup.gate(), celery_setup.gate()
    result = celery_setup.send("yields", away=away)
    celery_setup.wait_running(1, "one-away")
    holder = celery_setup.send("one", gate=gate)
    celery_setup.wait_running(1, "one")

    told = say("why", result.id)
    assert told.startswith(f"{result.id}: away from a slot of 'one'\n")
    assert "has given its slot of 'one' back since" in told
    (row,) = json.loads(say("show", "one", "--json"))["away"]
    assert (row["task"], row["name"], row["wants_since"], row["ahead"]) == (result.id, "yields", None, None)
    away.open()
    wait(lambda: control.show("one").away[0].wants_since, what="it wants its slot again")

    held, given_back = say("show", "one").split("\n\n")[1:3]
    assert holder.id in held and result.id not in held
    head, line = given_back.splitlines()
    columns = ["TOKEN", "TASK", "NAME", "WORKER", "GIVEN BACK", "WANTS IT", "AHEAD", "LEASE AGE"]
    cells = [line[head.index(name) :].split("  ")[0].strip() for name in columns]
    assert (head.split("  ")[0], cells[1:3], cells[6]) == ("TOKEN", [result.id, "yields"], "0")
    assert all(cells[column].endswith(" s") for column in (4, 5, 7))
    told = json.loads(say("why", result.id, "--json"))
    assert told["state"] == "away" and told["away"]["task"] == result.id and told["away"]["waits"] >= 0
    gate.open()
    celery_setup.wait_ended([holder])
    result.get(timeout=30)


def test_what_destroys_asks_first(say: Callable[..., str], celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    running = celery_setup.send("one", gate=gate)
    celery_setup.wait_running(1, "one")
    celery_setup.send_many("one", 3)
    wait(lambda: Concurrency(celery_setup.app).show("one").status.waiting == 3, what="all are announced")
    wait(lambda: celery_setup.waiting("one") == 3, what="all are in the queue")

    say("purge", "one", code=1, answer="n\n")
    say("release", "one", "1", code=1)
    say("drain", "one", code=1)
    assert celery_setup.waiting("one") == 3
    assert not Concurrency(celery_setup.app).show("one").status.pause

    assert "3 messages deleted" in say("purge", "one", answer="y\n")
    (holder,) = json.loads(say("show", "one", "-j"))["holders"]
    assert json.loads(say("drain", "one", "--timeout", "0.1", "--force", "--json", code=1))["running"] == 1
    assert f"slot {holder['token']} is free" in say("release", "one", holder["token"], "--force")
    assert "nothing runs" in say("drain", "one", "-f")
    gate.open()
    celery_setup.wait_ended([running])


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("set", "two", "0"), "limit 0 is refused"),
        (("set", "two", "2.5"), "limit '2.5' is refused"),
        (("set", "tow", "2"), "'two'"),
        (("set", "two", "2", "--expires", "soon"), "'soon' is no duration"),
        (("release", "two", "7", "--force"), "none of 'two' is held"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_refused_as_wrong_usage(say: Callable[..., str], words: Any, named: str) -> None:
    assert named in say(*words, code=USAGE)


def test_watch_looks_again_and_again(say: Callable[..., str], celery_setup: Setup) -> None:
    first, second = map(json.loads, say("watch", "one", "two", "-i", "0.2", "-c", "2", "--json").splitlines())

    assert [each["id"] for each in second["ids"]] == ["one", "two"]
    assert first["rates"] == {} and set(second["rates"]) == {"one", "two"}
    assert "RATE" in say("watch", "-c", "1")


def test_rates_are_told_where_they_are_asked_for(say: Callable[..., str]) -> None:
    assert {each["rate"] for each in json.loads(say("list", "--json"))} == {None}
    assert {each["rate"] for each in json.loads(say("list", "--rate", "0.1", "--json"))} == {0.0}


def test_doctor_finds_nothing_wrong_and_then_what_is(say: Callable[..., str], make_setup: Callable[..., Setup]) -> None:
    assert all(line.startswith("OK ") for line in say("doctor").splitlines())

    setup = make_setup("-Q", "celery", workers=1)
    setup.send("one")
    wait(lambda: Concurrency(setup.app).show("one").status.waiting == 1, what="it is announced")
    setup.broker.container.client.config_set("maxmemory-policy", "allkeys-lru")
    done = run_command(setup, "concurrency", "doctor", "--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert not told["ok"]
    problems = {each["check"]: each["problem"] for each in told["checks"] if each["problem"]}
    assert set(problems) == {"Redis", "workers"}
    assert "set maxmemory-policy" in problems["Redis"]
    assert "-Q one" in problems["workers"]


def test_a_redis_that_is_away_is_named_without_its_password(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(workers=0, concurrency_url="redis://:hush-hush@127.0.0.1:1/0")
    for words in (["list"], ["set", "two", "3"], ["why", "some-task"]):
        done = run_command(setup, "concurrency", *words)
        assert done.returncode == UNAVAILABLE, done
        assert "127.0.0.1:1" in done.stdout + done.stderr
        assert "hush-hush" not in done.stdout + done.stderr
    done = run_command(setup, "concurrency", "doctor")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stdout and "hush-hush" not in done.stdout + done.stderr


def test_celerys_own_control_and_inspect_know_the_commands(celery_setup: Setup) -> None:
    done = run_command(celery_setup, "control", "concurrency_set", "two", "5", "600", "why not", "--json", "-t", "10")
    assert done.returncode == 0, done.stderr
    assert all(reply["ok"]["limit"] == 5 for each in json.loads(done.stdout) for reply in each.values())
    done = run_command(celery_setup, "inspect", "concurrency", "two", "--json", "-t", "10")
    assert all(each["status"]["override"]["note"] == "why not" for each in json.loads(done.stdout).values())
    Concurrency(celery_setup.app).reset("two")
