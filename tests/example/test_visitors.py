"""The page of the example in a browser: two visitors share two GPUs, and each sees their place in line."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from example.demo import Demo, most_at_once
from example.visitor import Visitor
from harness.browser import Browser
from harness.waiting import wait

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The example with its page, for all tests here; Ctrl-C ends it, and nothing stays behind."""
    log = tmp_path_factory.mktemp("visitors") / "tasks.log"
    demo = Demo("--page", CONCURRENCY_EXAMPLE_LOG=str(log))
    demo.log = log
    try:
        demo.read_until("Ctrl-C ends it.")
        yield demo
        demo.interrupt()
        demo.read_to_the_end()
        assert demo.exit_code() == 0, demo.text
        assert demo.processes() == []
    finally:
        demo.end()


def test_two_visitors_see_their_places_their_expected_starts_and_their_images(demo: Demo, browser: Browser) -> None:
    first, second = (Visitor(browser, demo.page_url) for _ in range(2))
    # Once each button was pressed, it is known how long such images take.
    for button in (1, 2, 3):
        first.press(button)
    wait(lambda: [each["state"] for each in first.images()] == ["done"] * 3, 60, lambda: f"{first.images()}")

    second.write("<b>yours</b>")
    first.press(3, times=6)
    second.press(1)

    wait(lambda: second.images()[0]["rank"], 30, lambda: f"{second.images()}")
    seen = second.images()[0]
    assert int(seen["rank"]) >= 2, "four of the other visitor's are ahead, or a little later fewer"
    assert float(seen["expected"]) > 1, "two GPUs are at work on images of four seconds"
    assert "ahead of you" in seen["text"] and "It starts in about" in seen["text"]
    second.look().wait_text("2 of 2 GPUs work", "#queue")
    ranks = {int(seen["rank"])}

    def done(visitor: Visitor) -> bool:
        told = visitor.images()
        ranks.update(int(each["rank"]) for each in told if visitor is second and each["rank"])
        return all(each["state"] == "done" for each in told)

    wait(lambda: done(second), 60, lambda: f"{second.images()}")
    wait(lambda: done(first), 60, lambda: f"{first.images()}")
    assert {0, 1} & ranks, "it moved up"
    (yours,) = second.images()
    assert "Sketch: <b>yours</b>" in yours["text"] and "Here it is: <b>yours</b>.png" in yours["text"]
    assert yours["pictures"] == 1
    assert len(first.images()) == 9
    assert most_at_once(demo.log) == 2
    assert second.look().console() == []


def test_the_page_is_for_a_keyboard_a_phone_and_the_dark(demo: Demo, browser: Browser) -> None:
    browser.phone()
    browser.colours("dark")
    browser.open(demo.page_url)
    assert browser.overflow() == 0
    assert browser.script("return getComputedStyle(document.body).colorScheme || 'light dark'") == "light dark"
    browser.press(Keys.TAB, "blue hour", Keys.ENTER)  # what gets the focus is selected
    browser.wait_text("Here it is: blue hour.png", timeout=30)


def test_what_another_site_or_a_wrong_prompt_asks_for_is_refused(demo: Demo) -> None:
    # A form of another site, another name of this machine, and what is not there.
    refusals = {
        ("press/1", "text/plain", "127.0.0.1"): 404,
        ("press/1", "application/json", "evil.example"): 403,
        ("press/9", "application/json", "127.0.0.1"): 404,
        ("events/00000000-0000-0000-0000-000000000000", "", "127.0.0.1"): 404,
        ("../app.py", "", "127.0.0.1"): 404,
    }
    for (path, kind, host), code in refusals.items():
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(demo.page_url, path, kind, host, {"prompt": "x"})
        assert refused.value.code == code, path
    for body in ({}, {"prompt": ""}, {"prompt": "x" * 101}, [1]):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(demo.page_url, "press/1", "application/json", "127.0.0.1", body)
        assert refused.value.code == 400


def ask(url: str, path: str, kind: str, host: str, body: Any) -> bytes:
    data = json.dumps(body).encode() if kind else None
    request = urllib.request.Request(
        url + path, data, {"Host": f"{host}:1", **({"Content-Type": kind} if kind else {})}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        read: bytes = answer.read()
        return read
