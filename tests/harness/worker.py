"""``celery worker`` and ``celery beat`` as processes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from pytest_celery import CeleryTestWorker

from harness import truth
from harness.process import ProcessContainer

TESTS = Path(__file__).resolve().parent.parent


class CeleryProcess(ProcessContainer):
    """``celery -A harness.worker_app <command>``, run where the tests are and not where the package's source is."""

    def __init__(self, name: str, conf: dict[str, Any], directory: Path, *words: str) -> None:
        env = {"CONCURRENCY_TEST_CONF": json.dumps(conf), truth.LOG: str(directory / "truth.jsonl")}
        env["PYTHONUNBUFFERED"] = "1"
        argv = [sys.executable, "-m", "celery", "-A", "harness.worker_app", *words]
        super().__init__(name, argv, directory, env, cwd=TESTS)


class WorkerProcess(CeleryProcess):
    """``celery worker``, ready when it says so."""

    ready_prompt = " ready."

    def __init__(
        self, name: str, conf: dict[str, Any], directory: Path, pool: str = "prefork", concurrency: int = 4, *words: str
    ) -> None:
        command = ["worker", "--loglevel=INFO", f"--hostname={name}@test", f"--pool={pool}"]
        if not any(word.startswith("--autoscale") for word in words):
            command.append(f"--concurrency={concurrency}")
        super().__init__(name, conf, directory, *command, *words)


class WorkerNode(CeleryTestWorker):
    """A worker as pytest-celery's tests know it."""

    container: WorkerProcess

    def hostname(self) -> str:
        return f"{self.name()}@test"

    @property
    def pid(self) -> int:
        return self.container.pid

    def children(self) -> list[int]:
        """Processes whose parent is the worker's main process."""
        path = f"/proc/{self.pid}/task/{self.pid}/children"
        if os.path.exists(path):
            return [int(pid) for pid in Path(path).read_text().split()]
        import psutil

        return [child.pid for child in psutil.Process(self.pid).children()]

    def warm_shutdown(self, timeout: float = 30) -> None:
        """Ask as an init system does, and wait until it has ended by itself."""
        self.container.kill("SIGTERM")
        self.container.wait_exit(timeout)
