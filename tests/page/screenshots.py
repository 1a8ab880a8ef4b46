"""Pictures of the page for the documentation, made of real workers.

From ``tests/``: ``python -m page.screenshots DIRECTORY``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from celery_concurrency_id import Concurrency
from harness.browser import Browser, launch
from harness.servers import Servers
from harness.setup import Setup
from harness.waiting import wait
from page.served import Served

__all__ = ("pictures",)


def pictures(out: Path, browser: Browser, served: Served, setup: Setup) -> list[Path]:
    """Show an app at work, on a desk and on a phone, by day and by night."""
    control = Concurrency(setup.app, by="night shift")
    gate = setup.gate()
    for name in ("gpu_render", "gpu_train", "eight", "two"):
        setup.send_many(name, 5, seconds=2.5)
        setup.send_many(name, 3, gate=gate)
    control.set("eight", 3, expires=7200, note="sale until noon")
    control.pause("late", note="disk full")
    setup.send_many("late", 4)
    browser.renew()
    browser.open(f"{served.url_as('ops')}#id=gpu_queue")
    wait(lambda: len(setup.sweep.ended()) >= 12, 60, setup.state)
    browser.wait_text("2 of 2", "tr.chosen")
    made = []
    for kind in ("desk", "phone"):
        for scheme in ("light", "dark"):
            if kind == "phone":
                browser.phone()
            else:
                browser.size(1280, 860)
            browser.colours(scheme)
            made.append(out / f"page-{kind}-{scheme}.png")
            browser.screenshot(made[-1])
    gate.open()
    return made


def main(out: Path) -> None:
    """Start what is needed, and end it."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        servers = Servers(work)
        setup = Setup(servers.redis_broker(), servers.redis_backend(), work / "setup", {"concurrency_tasks": {}})
        started = [servers.teardown, setup.teardown]
        try:
            setup.start_workers(2, concurrency=8)
            served = Served(setup, work, control=True)
            started.append(served.close)
            browser = launch(work)
            started.append(browser.close)
            for made in pictures(out, browser, served, setup):
                print(made)
        finally:
            for stop in reversed(started):
                stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
