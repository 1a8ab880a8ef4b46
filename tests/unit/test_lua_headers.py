"""Each script's header names its keys, arguments and results, and is held against the script and its Python binding."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import takewhile
from typing import Any

import pytest

from celery_concurrency_id.semaphore.operator import OperatorVerbs
from celery_concurrency_id.semaphore.positions import PositionVerbs
from celery_concurrency_id.semaphore.scripts import SHARED, VERBS
from celery_concurrency_id.semaphore.semaphore import Known, Report, Semaphore
from celery_concurrency_id.semaphore.tasks import Holder, TaskVerbs

LUA = files("celery_concurrency_id.semaphore").joinpath("lua")
FRONT = "".join(LUA.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in SHARED)

#: What each binding sends, and how many of that are for each thing of a list.
CALLS: dict[str, Any] = {
    "adopt": lambda semaphore, things: semaphore.adopt(),
    "announce": lambda semaphore, things: semaphore.announce("id", "task", 0),
    "beat": lambda semaphore, things: semaphore.beat(True, ["1"], {f"id{thing}": 1 for thing in range(things)}),
    "cancel": lambda semaphore, things: semaphore.cancel("id", "task", 0),
    "join": lambda semaphore, things: semaphore.join("host", "fleet", 15.0, [("id", "1", "task", "")] * things),
    "learn": lambda semaphore, things: semaphore.learn([Known(f"id{thing}", "family", 1) for thing in range(things)]),
    "leave": lambda semaphore, things: semaphore.leave(),
    "retire": lambda semaphore, things: semaphore.retire([(f"id{thing}", "1") for thing in range(things)]),
    "reserve": lambda semaphore, things: semaphore.reserve("id", "task", 0, 9),
    "serve": lambda semaphore, things: semaphore.serve("fleet", {f"id{thing}": 1 for thing in range(things)}),
    "turn": lambda semaphore, things: semaphore.turn(1, True, [Report("start", "id", "1", "task", 0)] * things),
}
#: The same for the verbs of an operator.
OPERATOR_CALLS: dict[str, Any] = {
    "forget": lambda operator, things: operator.forget("id", 1.0),
    "holders": lambda operator, things: operator.holders("id", 3),
    "ids": lambda operator, things: operator.ids(),
    "limit": lambda operator, things: operator.limit("id", 3, 1.5, "who", "why"),
    "locate": lambda operator, things: operator.locate("task", 3, ["id"] * things),
    "observed": lambda operator, things: operator.observed("id", True),
    "overview": lambda operator, things: operator.overview(["id"] * things),
    "pause": lambda operator, things: operator.pause("id", True, "who", "why"),
    "release": lambda operator, things: operator.release("id", "1"),
}
#: The same for the verbs of a running task.
HOLDER = Holder("worker", "id", "1")
TASK_CALLS: dict[str, Any] = {
    "blocked": lambda tasks, things: tasks.blocked(HOLDER, ["task"] * things, True),
    "retake": lambda tasks, things: tasks.take_again(HOLDER, True),
    "yield": lambda tasks, things: tasks.give_back(HOLDER),
}
#: The same for the verbs of those who wait.
POSITION_CALLS: dict[str, Any] = {
    "find": lambda verbs, things: verbs.find("task", 3, ["id"] * things),
    "position": lambda verbs, things: verbs.position("id", 3, ["task"] * things),
}
#: How many arguments the header promises for each thing of a list, and the replies that a binding can read.
EACH = {
    "beat": 2,
    "blocked": 1,
    "find": 1,
    "join": 5,
    "learn": 4,
    "locate": 1,
    "overview": 1,
    "position": 1,
    "retire": 2,
    "serve": 3,
    "turn": 6,
}
REPLIES: dict[str, Any] = {
    "beat": [b"lost"],
    "join": [1, 0, [], 0],
    "turn": [b"epoch"],
    "announce": 1,
    "leave": 0,
    "adopt": 0,
    "learn": 0,
    "retire": 0,
    "serve": 1,
    "cancel": 1,
    "reserve": [1, 0],
    "blocked": [0, b"", 0],
    "retake": [1, b"1"],
    "yield": 1,
    "forget": 0,
    "holders": [1, [], [], []],
    "ids": [],
    "limit": 1,
    "locate": [[], []],
    "observed": [1, [], 0, 0],
    "overview": [1, 0, []],
    "pause": 0,
    "release": [0, b"", 0],
    "find": b"",
    "position": [1, [b"1", 0, 0, 0, b"", 0, 1, 0], [], [], [], []],
}


def text(verb: str) -> str:
    return LUA.joinpath(f"{verb}.lua").read_text(encoding="utf-8")


def header(verb: str) -> str:
    return "\n".join(takewhile(lambda line: line.startswith("--"), text(verb).splitlines()))


def body(verb: str) -> str:
    return re.sub(r"(?m)--.*$", "", text(verb))


def documented(verb: str) -> set[int]:
    return {int(number) for number in re.findall(r"ARGV\[(\d+)(?:\.\.)?\]", header(verb))}


class Recorder:
    """A client that only notes what it is asked to call."""

    run, uptime_ms = "run", 0

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def connect(self) -> None: ...

    def call(self, verb: str, *args: Any) -> Any:
        self.calls.append((verb, *args))
        return REPLIES[verb]


def sent(verb: str, things: int) -> int:
    recorder = Recorder()
    if verb in CALLS:
        CALLS[verb](Semaphore(recorder, "worker"), things)  # type: ignore[arg-type]
    elif verb in TASK_CALLS:
        TASK_CALLS[verb](TaskVerbs(recorder), things)  # type: ignore[arg-type]
    elif verb in POSITION_CALLS:
        POSITION_CALLS[verb](PositionVerbs(recorder), things)  # type: ignore[arg-type]
    else:
        OPERATOR_CALLS[verb](OperatorVerbs(recorder), things)  # type: ignore[arg-type]
    ((called, *args),) = recorder.calls
    assert called == verb
    return len(args)


def test_every_file_is_a_verb_and_every_verb_has_a_binding() -> None:
    found = {entry.name[: -len(".lua")] for entry in LUA.iterdir() if entry.name.endswith(".lua")}
    assert found == {*VERBS, *SHARED}
    assert {*CALLS, *OPERATOR_CALLS, *TASK_CALLS, *POSITION_CALLS} == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_the_header_begins_with_the_verb_and_says_what_it_takes_and_returns(verb: str) -> None:
    lines = header(verb).splitlines()
    assert re.match(rf"-- {verb}: \w", lines[0])
    assert sum(line.startswith("-- KEYS[") for line in lines) == 1
    assert sum(line.startswith("-- Returns") for line in lines) == 1
    assert set(re.findall(r"KEYS\[(\d+)\]", FRONT + text(verb))) == {"1"}


@pytest.mark.parametrize("verb", VERBS)
def test_the_header_names_the_arguments_without_a_gap(verb: str) -> None:
    assert documented(verb) == set(range(1, max(documented(verb), default=0) + 1))


@pytest.mark.parametrize("verb", VERBS)
def test_the_script_reads_every_argument_of_its_header_and_no_other(verb: str) -> None:
    read = {int(number) for number in re.findall(r"ARGV\[(\d+)\]", body(verb))}
    in_lists = {int(number) for number in re.findall(r"ARGV\[(\d+) \+ i", body(verb))}
    listed = re.search(r"local at = (\d+) \+ i", body(verb))
    starts = in_lists | ({int(listed.group(1))} if listed else set())
    fixed = {number for number in documented(verb) if f"ARGV[{number}..]" not in header(verb)}
    assert read == fixed
    assert not starts or min(starts) == max(fixed, default=0) + 1, "a list begins right behind the last argument"


@pytest.mark.parametrize("verb", VERBS)
def test_the_binding_sends_what_the_header_says(verb: str) -> None:
    fixed = len({number for number in documented(verb) if f"ARGV[{number}..]" not in header(verb)})
    if verb not in EACH:
        assert sent(verb, 0) == fixed
        return
    words = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
    plural = "s" if EACH[verb] > 1 else ""
    assert f"{words[EACH[verb]]} argument{plural} for each" in header(verb)
    assert [sent(verb, things) - fixed for things in (1, 2, 3)] == [EACH[verb], 2 * EACH[verb], 3 * EACH[verb]]


def test_the_kinds_of_reports_are_those_of_the_header() -> None:
    kinds = set(re.findall(r"function report\.(\w+)", body("turn")))
    assert set(re.findall(r"(?m)^--            (\w+) +the ", header("turn"))) == kinds


@pytest.mark.parametrize("verb", VERBS)
def test_scripts_use_the_servers_clock_only(verb: str) -> None:
    assert "os." not in body(verb)
    assert "TIME" not in body(verb)
    assert FRONT.count("redis.call('TIME')") == 1


@pytest.mark.parametrize("verb", VERBS)
def test_every_key_has_the_namespaces_prefix_and_is_in_the_schema(verb: str) -> None:
    from celery_concurrency_id.semaphore import keys

    assert keys.__doc__ is not None
    for name in re.findall(r"P \.\. '([a-z]+):?'", FRONT + text(verb)):
        assert f"``{name}``" in keys.__doc__ or f"``{name}:" in keys.__doc__, f"keys.py does not tell of {name!r}"
    literal = re.findall(r"redis\.call\('[A-Z]+', '([^']*)'", FRONT + body(verb))
    assert set(literal) <= {"CHANNELS"}, "a key without the prefix would be another namespace's"
