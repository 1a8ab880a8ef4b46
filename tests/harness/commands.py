"""``celery`` commands as processes, with the group ``concurrency`` also where the package is not installed."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import celery_concurrency_id
from harness.setup import Setup
from harness.worker import CeleryProcess

__all__ = ("command_path", "run_command", "start_command")


def command_path(directory: Path) -> str:
    """Return a ``PYTHONPATH`` with which ``celery`` finds the package's commands.

    Where the package is run from its sources, nothing has told Celery of them: what the build would tell, taken from
    ``pyproject.toml``, is put into a directory. The tests of a wheel need no such thing, and get none.
    """
    before = os.environ.get("PYTHONPATH", "")
    try:
        if distribution("celery-concurrency-id").entry_points:
            return before
    except PackageNotFoundError:
        pass
    root = Path(celery_concurrency_id.__file__).parent.parent
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    section = re.search(r'^\[project\.entry-points\."celery\.commands"\]\n((?:.+\n)+)', project, re.MULTILINE)
    assert section, "pyproject.toml names no commands"
    info = directory / "celery_concurrency_id-0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: celery-concurrency-id\nVersion: 0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[celery.commands]\n" + section[1].replace('"', ""), encoding="utf-8")
    return os.pathsep.join(filter(None, [before, str(directory)]))


def run_command(
    setup: Setup, *words: str, answer: str = "", hide: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``celery -A ... words`` with a setup's configuration until it ends; ``answer`` is what a user types.

    Modules in the directory ``hide`` stand before those that are installed.
    """
    process = CeleryProcess("command", setup.conf, setup.directory, *words)
    env = {**os.environ, **process.environment, "PYTHONPATH": command_path(setup.directory / "commands")}
    if hide is not None:
        env["PYTHONPATH"] = os.pathsep.join([str(hide), env["PYTHONPATH"]])
    return subprocess.run(
        process.argv, cwd=process.cwd, env=env, input=answer, capture_output=True, text=True, timeout=120
    )


def start_command(setup: Setup, name: str, *words: str) -> CeleryProcess:
    """Start ``celery -A ... words`` with a setup's configuration; it ends with the setup, its output is in its log."""
    path = command_path(setup.directory / "commands")
    return setup.start_celery(name, *words, environment={"PYTHONPATH": path})
