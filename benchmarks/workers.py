"""Real `celery worker` processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.publisher import ROOT


@dataclass(frozen=True)
class WorkerSpec:
    """The command line of one worker."""

    concurrency: int
    queue: str | None = None


#: What every ratio to plain Celery is measured with.
TWO_WORKERS = [WorkerSpec(4), WorkerSpec(4)]


class Worker:
    """One worker in a process group of its own, which ends with it."""

    def __init__(
        self, name: str, spec: WorkerSpec, environment: dict[str, str], directory: Path, recipe: str = ""
    ) -> None:
        self.log = directory / f"{name}.log"
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.app", "worker"]
        command += ["--concurrency", str(spec.concurrency), "--pool", "prefork", "-n", f"{name}@bench"]
        if spec.queue:
            command += ["-Q", spec.queue]
        if recipe == "dramatiq":
            command = [sys.executable, "-m", "dramatiq", "benchmarks.dramatiq_app"]
            command += ["--processes", str(spec.concurrency), "--threads", "1"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise when the worker has ended by itself."""
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"a worker ended with {self.process.returncode}:\n{tail}")

    def kill(self) -> None:
        """End the whole group at once: all has been measured, and a warm shutdown takes seconds."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
