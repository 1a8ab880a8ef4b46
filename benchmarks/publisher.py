"""A process of its own that publishes for one side, so that the extension's signals never touch the other side.

Reads one JSON order per line, publishes, answers with one JSON line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.config import SideConfig

ROOT = Path(__file__).resolve().parent.parent


def publish(
    tasks: list[str],
    batch: str,
    each: int = 1,
    seconds: float = 0.0,
    hold: str | None = None,
    every: float = 0.0,
    stamp: bool = False,
    members: int = 0,
) -> dict[str, float]:
    """Publish `each` messages of every task, task by task, numbered in the order of publishing.

    Args:
        every: time between two messages; 0 is as fast as possible.
        stamp: log the moment before each message is sent.
        members: publish `each` messages of the family, in turn to so many of its ids, instead of `tasks`.
    """
    app: Any
    if SideConfig.from_environment().recipe == "dramatiq":
        from benchmarks.dramatiq_app import app, write
    else:
        from benchmarks.app import app, write

    names = [name for name in tasks for _ in range(each)]
    began = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    for number in range(each if members else 0):
        app.tasks["family"].apply_async((batch, number, number % members))
    for number, name in enumerate(names):
        if every:
            due = began / 1e9 + number * every
            time.sleep(max(0.0, due - time.clock_gettime(time.CLOCK_MONOTONIC)))  # one every so often
        if stamp:
            write("sent", name, batch, number)
        app.tasks[name].apply_async((batch, number, seconds, hold))
    return {"began": began, "seconds": (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - began) / 1e9}


class Publisher:
    """The benchmark's end of the publishing process."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.publisher"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )

    def publish(self, **order: Any) -> dict[str, float]:
        self.begin(**order)
        return self.finish()

    def begin(self, **order: Any) -> None:
        """Order without waiting for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def finish(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the publisher died, see {self._log.name}")
        answer: dict[str, float] = json.loads(line)
        return answer

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            assert stream is not None
            stream.close()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing but answers may reach the pipe
    for line in sys.stdin:
        print(json.dumps(publish(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
