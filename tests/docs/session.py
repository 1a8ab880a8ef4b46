"""Runs the samples of a page as its reader would: in one directory, top to bottom, on servers that are there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from docs.samples import Sample
from harness.commands import command_path
from harness.process import ProcessContainer

__all__ = ("Session",)


class _Worker(ProcessContainer):
    """A worker that a sample starts; it goes on until the page ends."""

    ready_prompt = " ready."


class _Page(ProcessContainer):
    """The live page, which goes on as well."""

    ready_prompt = "shown at"


class Session:
    """One page's directory and processes.

    Args:
        addresses: What is written instead of the addresses on the page.
    """

    def __init__(self, directory: Path, addresses: Mapping[str, str]) -> None:
        self._directory = directory
        self._addresses = addresses
        self._workers: list[ProcessContainer] = []
        # The `celery` and `python` of the samples are those of the tests.
        paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        self._env = {"PATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
        self._env["PYTHONPATH"] = command_path(directory / "commands")

    def run(self, sample: Sample) -> str:
        """Run one sample and return what it printed."""
        code = self._at_home(sample.code)
        if sample.language == "bash":
            return "".join(self._command(line) for line in _lines(code))
        name = sample.file or f"sample_{sample.line}.py"
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
        # A file is run by those after it.
        return "" if sample.file else self._call(f"python {name}")

    def _command(self, line: str) -> str:
        words, env = shlex.split(line, comments=True), dict(self._env)
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            env[name] = value
        if words[0] == "celery" and {"worker", "page"} & set(words):
            argv, kind = [sys.executable, "-m", "celery", *words[1:]], _Page
            if "worker" in words:
                kind = _Worker
                if not any(word.startswith("--loglevel") for word in words):
                    argv.append("--loglevel=INFO")  # otherwise a worker does not say that it is ready
            name = f"worker{len(self._workers)}"
            worker = kind(name, argv, self._directory, env, cwd=self._directory)
            self._workers.append(worker)
            worker.start()
            worker.ready()
            return ""
        return self._call(line)

    def _call(self, command: str) -> str:
        done = subprocess.run(
            command,
            shell=True,
            cwd=self._directory,
            env={**os.environ, **self._env},
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout

    def _at_home(self, code: str) -> str:
        for there, here in self._addresses.items():
            code = code.replace(there, here)
        return code

    def logs(self) -> str:
        """The ends of the workers' logs."""
        return "\n".join(f"--- {worker.name}\n{worker.logs()[-3000:]}" for worker in self._workers)

    def check(self) -> None:
        """Fail if a worker ended by itself."""
        for worker in self._workers:
            assert worker.status == "running", f"{worker.name} ended: {worker.logs()[-3000:]}"

    def stop(self) -> None:
        """Stop what still runs, as a reader would by Ctrl-C, and then for certain."""
        for worker in self._workers:
            if worker.status == "running":
                worker.kill("SIGTERM")
        for worker in self._workers:
            worker.stop(timeout=20)


def _lines(code: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", code)
    return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]
