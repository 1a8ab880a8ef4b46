"""The page of the example in a browser: two visitors share two GPUs, and each sees their place in line."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable

import pytest
from selenium.webdriver.common.keys import Keys

from example.demo import Demo, most_at_once
from example.visitor import Visitor
from harness.browser import Browser
from harness.waiting import wait

pytestmark = pytest.mark.slow


def test_two_visitors_see_their_places_their_expected_starts_and_their_images(
    start: Callable[..., Demo],
    browser: Browser,
    tmp_path: Path,
) -> None:
    log = tmp_path / "tasks.log"
    demo = start("--page", CONCURRENCY_EXAMPLE_LOG=str(log))
    demo.read_until("Ctrl-C ends it.")
    first, second = (Visitor(browser, demo.page_url) for _ in range(2))
    # Once each button was pressed, it is known how long such images take.
    for button in (1, 2, 3):
        first.press(button, f"warm {button}")
    wait(lambda: [each["state"] for each in first.images()] == ["done"] * 3, 60, lambda: f"{first.images()}")

    for number in range(5):
        first.press(3, f"mine {number}")
    second.press(1, "<b>yours</b>")

    wait(lambda: second.images()[0]["rank"], 30, lambda: f"{second.images()}")
    seen = second.images()[0]
    assert int(seen["rank"]) >= 2, "three of the other visitor's are ahead, or more"
    assert float(seen["expected"]) > 1, "two GPUs are at work on images of four seconds"
    assert "ahead of you" in seen["text"] and "It starts in about" in seen["text"]
    assert "2 of 2 GPUs work" in second.look().text("#queue")
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
    assert len(first.images()) == 8
    assert most_at_once(log) == 2
    assert second.look().console() == []

    demo.interrupt()
    demo.read_to_the_end()
    assert demo.exit_code() == 0, demo.text
    assert demo.processes() == []


def test_the_page_is_for_a_keyboard_a_phone_and_the_dark(
    start: Callable[..., Demo],
    browser: Browser,
) -> None:
    demo = start("--page", "--speed", "10")
    demo.read_until("Ctrl-C ends it.")
    browser.phone()
    browser.colours("dark")
    browser.open(demo.page_url)
    assert browser.overflow() == 0
    assert browser.script("return getComputedStyle(document.body).colorScheme || 'light dark'") == "light dark"
    browser.press(Keys.TAB, "blue hour", Keys.ENTER)  # what gets the focus is selected
    browser.wait_text("Here it is: blue hour.png", timeout=30)

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
