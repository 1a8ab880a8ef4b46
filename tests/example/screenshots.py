"""Pictures of the example's page, with real workers: ``python -m example.screenshots DIRECTORY``, from ``tests/``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from example.demo import Demo
from example.visitor import Visitor
from harness.browser import launch
from harness.waiting import wait

__all__ = ("main",)


def main(out: Path) -> None:
    """Start the example, press its buttons as two visitors, and take pictures of what the second one sees."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        demo, browser = Demo("--page"), launch(Path(scratch))
        try:
            demo.read_until("Ctrl-C ends it.")
            browser.renew()
            first, second = (Visitor(browser, demo.page_url) for _ in range(2))
            for button, prompt in enumerate(("red fox", "old tree", "night bus"), 1):
                second.write(prompt)
                second.press(button)
            wait(lambda: {each["state"] for each in second.images()} == {"done"}, 60)
            first.press(3, times=5)
            for button, prompt in enumerate(("paper kite", "new moon"), 1):
                second.write(prompt)
                second.press(button)
            wait(lambda: all(each["expected"] for each in second.images()[-2:]), 30)
            for kind, scheme in (("desk", "light"), ("phone", "dark")):
                page = second.look()
                page.size(900, 860) if kind == "desk" else page.phone()
                page.colours(scheme)
                page.screenshot(out / f"visitors-{kind}-{scheme}.png")
                print(out / f"visitors-{kind}-{scheme}.png")
        finally:
            browser.close()
            demo.interrupt()
            demo.read_to_the_end()
            demo.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
