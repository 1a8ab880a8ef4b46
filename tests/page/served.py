"""The page as its users run it: ``celery concurrency page`` in a process of its own."""

from __future__ import annotations

import itertools
from pathlib import Path

from harness.commands import command_path
from harness.setup import Setup
from harness.worker import CeleryProcess

__all__ = ("PASSWORD", "Served")

PASSWORD = "hush-hush"
_COUNT = itertools.count()


class _Command(CeleryProcess):
    ready_prompt = "shown at http"


class Served:
    """The command, on a free port.

    Args:
        user: Who may look; nobody is asked without.
        control: Whether they may change limits.
    """

    def __init__(self, setup: Setup, directory: Path, user: str = "ops", control: bool = False) -> None:
        words = ["concurrency", "page", "--port", "0", "--interval", "0.5"]
        words += ["--user", user] if user else []
        words += ["--control"] if control else []
        self.process = _Command(f"page{next(_COUNT)}", setup.conf, setup.directory, *words)
        path = command_path(directory / "commands")
        # A secret that no answer may have in it.
        self.process.environment |= {"PYTHONPATH": path, "CONCURRENCY_PAGE_PASSWORD": PASSWORD}
        self.process.start()
        try:
            self.process.ready()
        except BaseException:
            self.close()
            raise
        self.url = self.process.logs().split("shown at ")[1].split()[0]

    def url_as(self, user: str) -> str:
        """Return the address with which a browser says at once who asks."""
        return self.url.replace("://", f"://{user}:{PASSWORD}@")

    def close(self) -> None:
        """End it, for certain."""
        self.process.stop()
