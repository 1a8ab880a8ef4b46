"""The shipped scripts with a clock that tests can set, and, where a test asks for it, with a bug planted.

The server's clock cannot be moved, so the one call of ``TIME`` is replaced by a read of a key outside the namespace.
Nothing else of the shipped text is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from celery_concurrency_id.semaphore import client, line
from celery_concurrency_id.semaphore.scripts import Script
from celery_concurrency_id.semaphore.scripts import load as shipped

#: A list of seconds and microseconds, as ``TIME`` returns them.
CLOCK = "test:clock"

#: From a text that occurs in the scripts to the one that takes its place.
Changes = Mapping[str, str]


def changed(verb: str, changes: Changes) -> Script:
    """Return a verb's script with the tests' clock, and with these changes made wherever their texts occur."""
    source = shipped(verb).source
    told_by_key = source.replace("redis.call('TIME')", f"redis.call('LRANGE', '{CLOCK}', 0, 1)")
    assert told_by_key.count(CLOCK) == 1, f"{verb}.lua tells the time other than by one call in the prelude"
    for before, after in changes.items():
        told_by_key = told_by_key.replace(before, after)
    return Script(verb, told_by_key)


@contextmanager
def scripts(changes: Changes | None = None) -> Iterator[None]:
    """While inside, clients run the changed scripts."""
    made: dict[str, Script] = {}

    def load(verb: str) -> Script:
        if verb not in made:
            made[verb] = changed(verb, changes or {})
        return made[verb]

    with pytest.MonkeyPatch.context() as patch:
        for module in (client, line):
            patch.setattr(module, "load", load)
        yield
