"""Things of which an app has one."""

from __future__ import annotations

import threading
from typing import Any, Callable, TypeVar
from weakref import WeakKeyDictionary

__all__ = ("one_for_each",)

Made = TypeVar("Made")


def one_for_each(make: Callable[[Any], Made]) -> Callable[[Any], Made]:
    """Return a function that makes a thing for an app when first asked, and returns the same one every time.

    Args:
        make: Makes it; what it makes must not hold on to the app.
    """
    all_made: WeakKeyDictionary[Any, Made] = WeakKeyDictionary()
    lock = threading.RLock()

    def the_one_for(app: Any) -> Made:
        made = all_made.get(app)
        if made is None:
            with lock:
                made = all_made.get(app)
                if made is None:
                    made = all_made[app] = make(app)
        return made

    return the_one_for
