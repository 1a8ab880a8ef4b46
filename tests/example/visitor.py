"""A visitor of the example's page."""

from __future__ import annotations

from typing import Any

from harness.browser import Browser

__all__ = ("Visitor",)


class Visitor:
    """A tab of a browser, and the person before it."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        browser.driver.switch_to.new_window("tab")
        self._tab = browser.driver.current_window_handle
        browser.open(url)

    def look(self) -> Browser:
        self.browser.driver.switch_to.window(self._tab)
        return self.browser

    def write(self, prompt: str) -> None:
        field = self.look().find("#prompt")
        field.clear()
        field.send_keys(prompt)

    def press(self, button: int, times: int = 1) -> None:
        """Press a button, so many times as fast as a machine can."""
        button_ = self.look().find(f"button[value='{button}']")
        if times == 1:
            button_.click()
        else:
            self.browser.script(
                "for (let time = 0; time < arguments[1]; time++) arguments[0].form.requestSubmit(arguments[0])",
                button_,
                times,
            )

    def images(self) -> list[dict[str, Any]]:
        """What the page says of this visitor's images, the first one first."""
        told = self.look().script(
            """return [...document.querySelectorAll('#images > li')].reverse().map(item => ({
                 state: item.className.replace('image', '').trim(), text: item.innerText,
                 rank: item.dataset.rank, expected: item.dataset.expected,
                 pictures: item.querySelectorAll('svg').length,
               }))"""
        )
        assert isinstance(told, list)
        return told
