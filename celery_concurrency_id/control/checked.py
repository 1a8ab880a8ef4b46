"""What an operator may say; anything else is refused before it changes anything."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

from ..exceptions import InvalidControl
from ..settings import check_limit

__all__ = ("check_timeout", "checked_expires", "checked_limit", "checked_text", "checked_token", "unknown_id")

_LONGEST_TEXT = 500
_LONGEST = 10 * 365 * 86400


def checked_limit(limit: Any) -> int:
    """Return a limit as the semaphore has it: 0 for none."""
    if not check_limit(limit):
        raise InvalidControl("set", "limit", limit, "an int of 1 or more, or None for no limit")
    return limit or 0


def checked_expires(expires: Any) -> float:
    """Return seconds; 0 for never."""
    if expires is None:
        return 0.0
    seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0.001 <= seconds <= _LONGEST:
        raise InvalidControl("set", "expires", expires, "seconds, more than 0 and at most ten years, or a timedelta")
    return float(seconds)


def checked_text(command: str, argument: str, text: Any) -> str:
    """Return who, or a note."""
    if text is None:
        return ""
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        raise InvalidControl(command, argument, text, f"a str of {_LONGEST_TEXT} characters at most")
    return text.encode("utf-8", "replace").decode()


def check_timeout(command: str, timeout: Any) -> None:
    """Refuse what is neither seconds to wait, nor None for as long as it takes."""
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout < 0):
        raise InvalidControl(command, "timeout", timeout, "seconds, or None for as long as it takes")


def checked_token(token: Any) -> str:
    """Return a token, which is a number."""
    text = str(token)
    if isinstance(token, bool) or not isinstance(token, (str, int)) or not (text.isascii() and text.isdigit()):
        raise InvalidControl("release", "token", token, "the token of a slot, a number, as show tells it")
    return text


def unknown_id(command: str, id: Any, known: Iterable[str], argument: str = "id") -> InvalidControl:
    """Return the error for an id that nobody knows."""
    names = sorted(known)
    if not names:
        return InvalidControl(command, argument, id, "a concurrency id, but neither this app nor a worker knows any")
    close = get_close_matches(str(id), names, 3, 0.5) or names[:5]
    more = f" (of {len(names)})" if len(names) > len(close) else ""
    return InvalidControl(command, argument, id, f"a concurrency id such as {', '.join(map(repr, close))}{more}")
