"""The Lua scripts: one file a verb, each behind what all of them share."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

__all__ = ("SHARED", "VERBS", "Script", "load")

#: Every verb; each has a file of its name in ``lua/``.
VERBS = (
    *("adopt", "announce", "beat", "cancel", "join", "learn", "leave", "reserve", "retire", "serve", "turn"),
    *("blocked", "retake", "yield"),  # a running task's
    *("forget", "holders", "ids", "limit", "locate", "observed", "overview", "pause", "release"),  # an operator's
    *("find", "position"),  # of those who wait
)

#: What stands in front of each verb, in this order: each part may use those before it.
SHARED = ("_prelude", "_trial", "_free", "_leases", "_waiting", "_directory", "_lanes")


class Script:
    """One verb's source and the name Redis knows it by.

    Attributes:
        verb: Name of the verb.
        source: The Lua text, with what is shared.
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
    source = "".join(folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in (*SHARED, verb))
    return Script(verb, source)
