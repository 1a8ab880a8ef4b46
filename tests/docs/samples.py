"""Samples in Markdown: fenced blocks of code, and what the page says about them.

What a reader does not see are two kinds of comment, each on the line before a block:

- ``<!-- not run: REASON -->``: the block is not run.
- ``<!-- output -->``: the block is what the block before it prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ("PAGES", "ROOT", "Sample", "samples_of", "text_of")

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", *sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md")))

_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n\n?)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
_RUN = ("python", "bash")


@dataclass
class Sample:
    """A block of Python or of shell commands.

    Attributes:
        line: Where it begins in its page.
        not_run: Why it is not run; empty if it is.
        output: What it prints, if the page says so.
    """

    line: int
    language: str
    code: str
    not_run: str = ""
    output: str | None = None

    @property
    def file(self) -> str | None:
        """The file that the sample is, if its first line says so: ``# tasks.py``, ``# shop/tasks.py``."""
        match = re.match(r"# ((?:\w+/)*\w+\.py)\n", self.code)
        return match[1] if match else None


def text_of(page: str) -> str:
    """Return a page as it is."""
    return (ROOT / page).read_text(encoding="utf-8")


def samples_of(page: str) -> list[Sample]:
    """Return the samples of a page, in order."""
    text, found = text_of(page), []
    for block in _BLOCK.finditer(text):
        note, language = block["note"] or "", block["language"]
        if note == "output":
            found[-1].output = block["code"]
        elif language in _RUN:
            line = text.count("\n", 0, block.start("code")) + 1
            reason = note[len("not run: ") :] if note.startswith("not run: ") else ""
            found.append(Sample(line, language, block["code"], reason))
    return found
