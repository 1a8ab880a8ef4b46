"""The Lua scripts: one file a verb, each behind the shared prelude."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

__all__ = ("VERBS", "Script", "load")

#: Every verb; each has a file of its name in ``lua/``.
VERBS = (
    *("adopt", "announce", "beat", "cancel", "join", "learn", "leave", "reserve", "retire", "serve", "turn"),
    *("blocked", "retake", "yield"),  # a running task's
    *("forget", "holders", "ids", "limit", "locate", "observed", "overview", "pause", "release"),  # an operator's
    *("find", "position"),  # of those who wait
)


class Script:
    """One verb's source and the name Redis knows it by.

    Attributes:
        verb: Name of the verb.
        source: The Lua text, prelude included.
        sha: Hexadecimal SHA-1 of the source, as ``EVALSHA`` wants it.
    """

    __slots__ = ("sha", "source", "verb")

    def __init__(self, verb: str, source: str) -> None:
        self.verb = verb
        self.source = source
        self.sha = hashlib.sha1(source.encode()).hexdigest()


@cache
def load(verb: str) -> Script:
    """Read a verb's script from the package's data."""
    folder = files(__package__).joinpath("lua")
    prelude = folder.joinpath("_prelude.lua").read_text(encoding="utf-8")
    lanes = folder.joinpath("_lanes.lua").read_text(encoding="utf-8")
    return Script(verb, prelude + lanes + folder.joinpath(f"{verb}.lua").read_text(encoding="utf-8"))
