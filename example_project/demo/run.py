"""The demo from beginning to end: servers, workers, work, picture, verdict, and nothing left behind."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from demo.errors import DemoError, Interrupted
from demo.processes import Interrupt, Processes, wait_until
from demo.redis_server import start_redis
from demo.users_servers import check_servers

if TYPE_CHECKING:
    from demo.journal import Journal
    from visitors.server import Page

PROJECT = Path(__file__).resolve().parent.parent
WORKERS = ("alpha", "beta")


def main() -> int:
    """Run the demo.

    Returns:
        The exit code: 0 when every task ran once and the limit held.
    """
    options = argparse.ArgumentParser(prog="python example_project", description=__doc__)
    options.add_argument("--speed", type=float, default=1.0, help="how many times faster the work goes")
    shown = options.add_mutually_exclusive_group()
    shown.add_argument("--page", action="store_true", help="only the web page, until Ctrl-C")
    shown.add_argument("--terminal", action="store_true", help="only the demo in the terminal")
    options.add_argument("--port", type=int, default=0, help="of the web page; unset: any that is free")
    chosen = options.parse_args()
    interrupt = Interrupt()
    console = Console()
    try:
        with tempfile.TemporaryDirectory(prefix="gpu-demo-") as folder:
            return _run(console, interrupt, Path(folder), chosen)
    except Interrupted:
        print("\nInterrupted; everything that was started is stopped.")
        return 130
    except DemoError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1


def _run(console: Console, interrupt: Interrupt, folder: Path, chosen: argparse.Namespace) -> int:
    log = Path(os.environ.get("CONCURRENCY_EXAMPLE_LOG") or folder / "tasks.log")
    log.touch()
    os.environ["CONCURRENCY_EXAMPLE_LOG"] = str(log)
    with Processes() as servers:
        if "CONCURRENCY_EXAMPLE_BROKER" not in os.environ:
            os.environ["CONCURRENCY_EXAMPLE_BROKER"] = start_redis(servers, folder, interrupt.check)
            print(f"redis      {os.environ['CONCURRENCY_EXAMPLE_BROKER']}", flush=True)
        with Processes() as workers:
            _start_workers(workers, folder, interrupt)
            if chosen.terminal:
                journal = _work(console, interrupt, workers, log, chosen.speed)
            else:
                with _page(chosen) as page:
                    print(f"page       {page.url}", flush=True)
                    if chosen.page:
                        return _stay(interrupt, workers)
                    journal = _work(console, interrupt, workers, log, chosen.speed)
                    if console.is_terminal:
                        verdict = _verdict(console, journal)
                        print(f"\nNow press the buttons yourself: {page.url}", flush=True)
                        return _stay(interrupt, workers) or verdict
    return _verdict(console, journal)


def _page(chosen: argparse.Namespace) -> Page:
    from visitors.server import serve

    try:
        return serve(chosen.port, chosen.speed)
    except (OSError, OverflowError) as error:
        raise DemoError(f"the page cannot be served on port {chosen.port}: {error}") from error


def _stay(interrupt: Interrupt, workers: Processes) -> int:
    """Serve the page until Ctrl-C, which is how this ends and no failure."""
    print("Ctrl-C ends it.", flush=True)
    while not interrupt.came:
        workers.check()
        time.sleep(0.1)  # between two looks
    print("\nStopped, with everything that was started.", flush=True)
    return 0


def _start_workers(workers: Processes, folder: Path, interrupt: Interrupt) -> None:
    """Start two plain Celery workers, each with more processes than the limit, and wait until both answer."""
    from app import app  # reads the environment that is now complete

    check_servers(app)
    for name in WORKERS:
        arguments = ["-A", "app", "worker", "-n", f"{name}@%h", "--concurrency=3", "--loglevel=INFO"]
        print(f"worker     celery {' '.join(arguments)}", flush=True)
        workers.start(name, [sys.executable, "-m", "celery", *arguments], folder / f"{name}.log", PROJECT)

    def all_answer() -> bool:
        answers = app.control.broadcast("ping", reply=True, limit=len(WORKERS), timeout=1.0) or []
        return set(WORKERS) <= {name.split("@")[0] for answer in answers for name in answer}

    def check() -> None:
        interrupt.check()
        workers.check()

    wait_until(all_answer, 60, "the workers do not answer", check)


def _work(console: Console, interrupt: Interrupt, workers: Processes, log: Path, speed: float) -> Journal:
    """Submit everything at once and watch until the last task has ended."""
    from demo.journal import Journal
    from demo.live import View
    from producer import press_buttons
    from tasks import GPUS

    submitted = time.monotonic()
    jobs = press_buttons(speed)
    print(f"submitted  {len(jobs)} tasks, {sum(job.on_gpu for job in jobs)} of them for the GPUs\n", flush=True)
    journal = Journal(log, jobs, submitted)
    with View(console, journal, GPUS) as view:

        def all_done() -> bool:
            view.show(journal.read())
            return journal.all_done()

        def check() -> None:
            interrupt.check()
            workers.check()

        wait_until(all_done, 120, "the tasks have not all ended", check)
    journal.close()
    return journal


def _verdict(console: Console, journal: Journal) -> int:
    """Draw the timeline and judge by the log of the tasks."""
    from demo.journal import highest_at_once
    from demo.timeline import timeline
    from tasks import GPUS

    highest = highest_at_once(journal.gpu())
    once = all(run.starts == 1 for run in journal.runs)
    print(f"\n{timeline(journal, console.width)}\n")
    print(f"GPU tasks at once, by the tasks' own log: at most {highest}; the limit is {GPUS}.")
    print(f"{len(journal.runs)} tasks ended, {'each ran once' if once else 'but not each ran once'}.")
    return 0 if highest <= GPUS and once else 1
