"""The page in a browser, with real workers: what a person sees and does, by mouse and by keyboard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from selenium.webdriver import Keys

from celery_concurrency_id import Concurrency
from harness.browser import Browser
from harness.setup import Setup
from harness.waiting import stays, wait
from page.served import Served

NASTY = "<img/src=x/onerror=document.title='owned'>\"'&amp;<script>document.title='owned'</script>"

#: The lowest contrast between a text and what is behind it, by the rule of WCAG 2; 4.5 is enough for any size.
CONTRAST = """
const channel = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
const bright = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
const behind = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const colour = numbers(getComputedStyle(each).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const found = [...document.querySelectorAll('body *')].filter((each) => each.checkVisibility()
  && [...each.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()));
return found.map((each) => {
  const [one, other] = [bright(numbers(getComputedStyle(each).color)), bright(behind(each))].sort((a, b) => b - a);
  return [(one + 0.05) / (other + 0.05), each.textContent.trim().slice(0, 40)];
}).sort((a, b) => a[0] - b[0])[0];
"""


@pytest.fixture(scope="module")
def served_by(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Setup], Served]]:
    """Serve a setup's page, with control, once for all tests of it."""
    made: dict[int, Served] = {}

    def serve(setup: Setup) -> Served:
        if id(setup) not in made:
            made[id(setup)] = Served(setup, tmp_path_factory.mktemp("page"), control=True)
        return made[id(setup)]

    yield serve
    for served in made.values():
        served.close()


@pytest.fixture
def page(celery_setup: Setup, served_by: Callable[[Setup], Served], browser: Browser) -> Iterator[Browser]:
    """The page of the shared setup, open; its scripts and its policy must have nothing to complain of."""
    browser.open(served_by(celery_setup).url_as("ops"))
    browser.wait_text("Live, updated")
    yield browser
    control = Concurrency(celery_setup.app)
    for id in ("one", "two"):
        control.reset(id)
        control.resume(id)
    complaints = browser.console()
    assert not complaints


def choose(page: Browser, id: str) -> None:
    """Look at one id."""
    page.script("location.hash = `#id=${encodeURIComponent(arguments[0])}`", id)
    page.wait_text("Limit ", "#facts")


def tasks(page: Browser, rows: str, column: int) -> set[str]:
    """The tasks of a table."""
    source = "return [...document.getElementById(arguments[0]).rows].map((row) => row.cells[arguments[1]].innerText)"
    return set(page.script(source, rows, column))


def test_who_runs_and_who_waits_is_seen_and_moves_when_a_task_ends(page: Browser, celery_setup: Setup) -> None:
    first, rest = celery_setup.gate(), celery_setup.gate()
    results = [celery_setup.send("one", gate=first), *(celery_setup.send("one", gate=rest) for _ in range(2))]
    ids = [result.id for result in results]
    celery_setup.wait_running(1, "one")
    choose(page, "one")

    wait(lambda: tasks(page, "holder-rows", 0) == {ids[0]}, what=page.text)
    wait(lambda: tasks(page, "waiting-rows", 1) == set(ids[1:]), what=page.text)
    page.wait_text("1 of 1", "tr.chosen")
    assert "Running: 1 now" in page.text("#run-text") and "Waiting: 2 now" in page.text("#wait-text")
    assert all(
        page.script("return document.querySelector(arguments[0]).getAttribute('d')", path)
        for path in ("#run-line .run", "#run-line .limit", "#wait-line .wait", "tr.chosen .spark .run")
    )
    first.open()

    wait(lambda: tasks(page, "holder-rows", 0) == {ids[1]}, what=page.text)
    wait(lambda: tasks(page, "waiting-rows", 1) == {ids[2]}, what=page.text)
    rest.open()
    celery_setup.wait_ended(results)
    page.wait_text("Nothing runs.", "#one")
    page.wait_text("Nothing waits.", "#one")


def test_tasks_that_gave_their_slots_back_are_counted(page: Browser, celery_setup: Setup) -> None:
    gates = [celery_setup.gate(), celery_setup.gate()]
    away = [celery_setup.send("yields_two", away=gates[0], last=gates[1])]
    celery_setup.wait_running(1, "two-away")
    choose(page, "two")
    page.wait_text("1 task runs without its slot, which it has given back for a while.", "#away")
    assert "Nothing runs." not in page.text("#one")
    away.append(celery_setup.send("yields_two", away=gates[1]))
    Concurrency(celery_setup.app).set("two", 1)
    celery_setup.wait_running(2, "two-away")
    holder = celery_setup.send("two", gate=gates[1])
    celery_setup.wait_running(1, "two")
    gates[0].open()
    both = "2 tasks run without their slots, which they have given back for a while"
    page.wait_text(f"{both}; 1 waits to have its slot again.", "#away")
    gates[1].open()
    celery_setup.wait_ended([holder])
    for result in away:
        result.get(timeout=30)
    page.wait_text("Nothing runs.", "#one")
    assert not page.find("#away").is_displayed()


def test_an_id_is_paused_and_resumed_with_the_keyboard_alone(page: Browser, celery_setup: Setup) -> None:
    control = Concurrency(celery_setup.app)

    def go_to(selector: str) -> None:
        """Press Tab until the focus is there; it is seen wherever it goes."""
        for _ in range(80):
            page.press(Keys.TAB)
            here, seen = page.script(
                "const on = document.activeElement, style = getComputedStyle(on);"
                "return [on.matches(arguments[0]), on === document.body || parseFloat(style.outlineWidth) >= 2]",
                selector,
            )
            assert seen, page.script("return document.activeElement.outerHTML")
            if here:
                return
        raise AssertionError(f"no Tab leads to {selector}")

    go_to("a[href='#id=one']")
    page.press(Keys.ENTER)
    wait(lambda: page.focused().get_attribute("id") == "name", what="what was chosen has the focus")
    page.wait_text("Limit 1", "#facts")
    go_to("summary")
    page.press(Keys.ENTER)
    go_to("#note")
    page.press("disk full")
    go_to("#pause")
    page.press(Keys.ENTER)
    assert page.text("#question") == "Pause one?"
    assert page.focused().get_attribute("id") == "no", "what does nothing comes first"
    page.press(Keys.ESCAPE)
    wait(lambda: page.focused().get_attribute("id") == "pause", what="back where it was")
    assert control.show("one").status.pause is None
    page.press(Keys.ENTER)
    go_to("#yes")
    page.press(Keys.ENTER)

    page.wait_text("one is paused", "#said")
    pause = control.show("one").status.pause
    assert pause is not None and (pause.by, pause.note) == ("ops", "disk full")
    result = celery_setup.send("one")
    page.wait_text("paused by ops: disk full", "tr.chosen")
    wait(lambda: tasks(page, "waiting-rows", 1) == {result.id}, what=page.text)
    stays(lambda: not celery_setup.sweep.runs("one"), 0.5, "nothing starts")
    go_to("#pause")
    page.press(Keys.SPACE)
    assert page.text("#question") == "Resume one?"
    go_to("#yes")
    page.press(Keys.SPACE)
    celery_setup.wait_ended([result])
    page.wait_text("one is resumed", "#said")


def test_a_limit_is_set_after_a_question_and_more_tasks_run(page: Browser, celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    results = celery_setup.send_many("two", 4, gate=gate)
    celery_setup.wait_running(2, "two")
    choose(page, "two")

    page.find("summary").click()
    page.find("#limit").send_keys("0")
    page.find("#set").click()
    page.wait_text("set: limit 0 is refused: expected an int of 1 or more, or None for no limit", "#refused")
    wait(lambda: any("400" in said for said in page.console()), what="the console tells of it, too")
    page.find("#limit").clear()
    page.find("#limit").send_keys("3")
    page.find("#expires").send_keys("1 hour")
    page.find("#set").click()
    assert page.text("#question") == "Set the limit of two?"
    assert page.text("#what").startswith("From 2 to 3 for 1 hour.")
    page.find("#no").click()
    stays(lambda: len(celery_setup.running("two")) == 2, 0.5, "nobody has said yes")
    page.find("#set").click()
    page.find("#yes").click()

    celery_setup.wait_running(3, "two")
    page.wait_text("two: the limit is 3 now", "#said")
    page.wait_text("3 of 3", "tr.chosen")
    override = Concurrency(celery_setup.app).show("two").status.override
    assert override is not None and override.until is not None
    assert override.by == "ops" and 3500 < override.until - override.at <= 3600
    assert celery_setup.sweep.peak("two") == 3
    page.find("#reset").click()
    page.find("#yes").click()
    page.wait_text("two: the limit is 2 now", "#said")
    gate.open()
    celery_setup.wait_ended(results)


def test_it_is_read_on_a_phone_at_twice_the_size_and_by_night_whatever_ids_say(
    page: Browser, celery_setup: Setup
) -> None:
    gate = celery_setup.gate()
    nasty, long = f"account-{NASTY}", "account-" + "x" * 180
    results = [
        celery_setup.send("account", tag=tag, gate=gate, options={"task_id": f"{NASTY}{number}"})
        for number, tag in enumerate((NASTY, NASTY, "x" * 180))
    ]
    celery_setup.wait_running(2)
    Concurrency(celery_setup.app, by="ops").pause("one", note=f"{NASTY} " + "n" * 300)

    for id in (nasty, long, ""):
        if id:
            choose(page, id)
            page.wait_text(id, "#name")
            page.script("document.getElementById('controls').open = true")
        else:
            page.find("#close").click()
            page.wait_text(NASTY, "#ids")
        for scheme in ("light", "dark"):
            page.colours(scheme)
            for look in (page.phone, lambda: page.size(1280, 860, zoom=2), lambda: page.size(1280, 860)):
                look()
                assert page.overflow() == 0, f"{id[:20]}: {page.script('return innerWidth')} pixels, {scheme}"
            ratio, words = page.script(CONTRAST)
            assert ratio >= 4.5, f"{words!r} by {scheme}"
            dark = page.script("return getComputedStyle(document.body).backgroundColor")
            assert (max(json.loads(dark.replace("rgb(", "[").replace(")", "]"))) < 60) == (scheme == "dark")
    assert f"{NASTY}0" in wait(lambda: _of(page, nasty), what=page.text)
    assert "owned" not in page.driver.title
    assert not page.all("main img, main script")
    unnamed = page.script(
        "return [...document.querySelectorAll('input, select, button, svg')].filter((each) => "
        "each.checkVisibility() && !each.labels?.length && !each.textContent && !each.ariaLabel)"
        ".map((each) => each.outerHTML)"
    )
    assert not unnamed
    Concurrency(celery_setup.app).resume("one")
    gate.open()
    celery_setup.wait_ended(results)


def _of(page: Browser, id: str) -> set[str]:
    choose(page, id)
    return tasks(page, "holder-rows", 0)


def test_while_redis_is_away_the_page_says_since_when_and_that_it_shows_what_was(
    make_setup: Callable[..., Setup], browser: Browser, tmp_path: Path
) -> None:
    setup = make_setup(workers=0)
    served = Served(setup, tmp_path, user="")
    try:
        browser.open(f"{served.url}#id=one")
        browser.wait_text("Limit 1", "#facts")
        assert not browser.find("#controls").is_displayed(), "nobody has asked for control"
        server: Any = setup.broker.container
        server.kill()

        browser.wait_text("Redis, which holds the slots, does not answer since", "#trouble")
        assert "What you see is as it was at" in browser.text("#trouble")
        assert "one" in browser.text("#ids") and "Live" not in browser.text()
        server.start()
        server.ready()
        browser.wait_text("Live, updated", timeout=30)
        assert not browser.text("#trouble")
        served.close()
        browser.wait_text("This page's server does not answer since", "#trouble", timeout=30)
    finally:
        served.close()


def test_nothing_is_asked_for_while_nobody_sees_the_page(page: Browser) -> None:
    page.script(
        "window.seen = []; addEventListener('visibilitychange', () => "  # before the page itself hears of it
        "seen.push([document.hidden, performance.now()]), true)"
    )
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    other = page.driver.current_window_handle
    try:
        stays(page.alive, 2.5, "it would have asked four times")
    finally:
        page.driver.switch_to.window(other)
        page.driver.close()
        page.driver.switch_to.window(first)
    (_, hidden), (_, shown) = wait(lambda: page.script("return seen.length === 2 && seen"), what="it was hidden")
    asked = page.script(
        "return performance.getEntriesByType('resource').filter((each) => "
        "each.name.includes('state?')).map((each) => each.startTime)"
    )
    assert not [at for at in asked if hidden < at < shown]
    wait(
        lambda: page.script(
            "return performance.getEntriesByType('resource').filter((each) => each.startTime >= arguments[0]).length",
            shown,
        ),
        what="it asks again",
    )


def test_an_unknown_id_is_said_to_be_one(page: Browser) -> None:
    page.script("location.hash = '#id=tow'")

    page.wait_text("There is no id tow", "#said")
    wait(lambda: any("404" in said for said in page.console()), what="the answer was a 404")
