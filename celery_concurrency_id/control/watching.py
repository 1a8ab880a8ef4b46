"""Follow tasks through the queue: one thread of a process asks for all who watch."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any, Callable

from ..exceptions import InvalidControl, SemaphoreUnavailable
from ..per_app import one_for_each
from .checked import check_timeout
from .positions import Positions, checked_task, positions_of
from .views import Position

__all__ = ("follow", "follow_async")

#: Seconds: no watcher looks more often.
_OFTEN = 0.1
#: Looking takes this part of the time at the most, however many watch.
_SHARE = 0.05
#: Seconds for which a task may be nowhere: it was fetched ahead, or has just ended.
_GRACE = 2.0
#: Seconds for which Redis may be away without an error.
_PATIENCE = 10.0
#: Seconds by which an expected time must have moved to be told anew.
_MOVED = 1.0


class Watch:
    """One who watches a task.

    Args:
        on_news: Called in the watching thread with a position, or with an error, which is the last.

    Attributes:
        due: When to look next, by this process's monotonic clock.
        last: What was told last.
    """

    def __init__(
        self, task: str, name: str | None, id: str | None, interval: float, on_news: Callable[[Any], Any]
    ) -> None:
        self.task, self.name, self.id, self.interval, self.on_news = task, name, id, interval, on_news
        self.due = 0.0
        self.last: Position | None = None
        self.missing_since: float | None = None
        self.failing_since: float | None = None
        self.seen = self.ran = False


class Watchers:
    """Those of an app in this process; the thread lives as long as somebody watches."""

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self._watches: set[Watch] = set()
        self._news = threading.Condition()
        self._pid = os.getpid()
        self._running = False

    def add(self, watch: Watch) -> None:
        """Begin to watch."""
        if self._pid != os.getpid():
            self._watches, self._news = set(), threading.Condition()
            self._pid, self._running = os.getpid(), False
        with self._news:
            self._watches.add(watch)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="concurrency-positions", daemon=True).start()
            self._news.notify()

    def remove(self, watch: Watch) -> None:
        """Watch no more."""
        with self._news:
            self._watches.discard(watch)
            self._news.notify()

    def _run(self) -> None:
        rest = 0.0  # until when, so that looking takes no more than its share of the time
        while True:
            with self._news:
                while True:
                    if not self._watches:
                        self._running = False
                        return
                    now = time.monotonic()
                    nearest = max(min(each.due for each in self._watches), rest)
                    if nearest <= now:
                        break
                    self._news.wait(nearest - now)
                due = [each for each in self._watches if each.due <= now]
            self._look(due)
            ended = time.monotonic()
            rest = ended + (ended - now) * (1 / _SHARE - 1)

    def _look(self, due: list[Watch]) -> None:
        groups: dict[tuple[str, str | None], list[Watch]] = defaultdict(list)
        now = time.monotonic()
        for watch in due:
            # At the same moments for all with the same interval, so that one look is for many.
            watch.due = (now // watch.interval + 1) * watch.interval
            try:
                id = self._positions.id_of(watch.task, watch.name, watch.id)
            except Exception as exc:
                self._failed([watch], exc)
                continue
            watch.id = id
            if id is None:
                self._missing(watch)
            else:
                groups[id, watch.name].append(watch)
        for (id, name), watches in groups.items():
            try:
                found = self._positions.of_many({each.task: None for each in watches}, name, id)
            except Exception as exc:
                self._failed(watches, exc)
                continue
            for watch in watches:
                position = found[watch.task]
                if position is None:
                    self._missing(watch)
                else:
                    watch.seen, watch.ran = True, position.state == "running"
                    watch.missing_since = watch.failing_since = None
                    self._tell(watch, position)

    def _missing(self, watch: Watch) -> None:
        watch.failing_since = None
        position = self._positions.elsewhere(watch.task, watch.last.id if watch.last else watch.id)
        now = time.monotonic()
        if watch.missing_since is None:
            watch.missing_since = now
        if position.state != "unknown":
            self._tell(watch, position)
        elif now - watch.missing_since >= _GRACE or not watch.seen:
            # One that ran, and that no result tells of, has ended; one that waited may not be due.
            self._tell(watch, position, last=watch.ran)

    def _failed(self, watches: list[Watch], exc: Exception) -> None:
        now = time.monotonic()
        for watch in watches:
            if watch.failing_since is None:
                watch.failing_since = now
            if not isinstance(exc, SemaphoreUnavailable) or now - watch.failing_since >= _PATIENCE:
                self.remove(watch)
                _safely(watch, exc)

    def _tell(self, watch: Watch, position: Position, last: bool = False) -> None:
        last = last or position.state == "done"
        if last or watch.last is None or _moved(watch.last, position):
            watch.last = position
            if last:
                self.remove(watch)
            _safely(watch, position)
            if last:
                _safely(watch, None)


def _safely(watch: Watch, news: Any) -> None:
    try:
        watch.on_news(news)
    except Exception:  # its event loop is closed
        pass


def _moved(before: Position, now: Position) -> bool:
    if any(getattr(before, each) != getattr(now, each) for each in ("state", "id", "rank", "waiting", "limit")):
        return True
    for each in ("starts_in", "ends_in"):
        old, new = getattr(before, each), getattr(now, each)
        if (old is None) != (new is None):
            return True
        # Not the seconds that have passed, but the time that it will be then.
        if new is not None and abs((now.at or 0) + new.likely - (before.at or 0) - old.likely) > _MOVED:
            return True
    return False


_watchers_of = one_for_each(lambda app: Watchers(positions_of(app)))


def _checked(interval: Any, timeout: Any) -> None:
    if isinstance(interval, bool) or not isinstance(interval, (int, float)) or interval < _OFTEN:
        raise InvalidControl("positions", "interval", interval, f"seconds, {_OFTEN:g} or more")
    check_timeout("positions", timeout)


def follow(
    app: Any, task_id: Any, name: str | None, id: str | None, interval: float, timeout: float | None
) -> Iterator[Position]:
    """Return an iterator over the positions of a task; what is wrong with the arguments is wrong at once."""
    task = checked_task("positions", task_id)
    _checked(interval, timeout)
    return _follow(_watchers_of(app), task, name, id, interval, timeout)


def _follow(
    watchers: Watchers, task: str, name: str | None, id: str | None, interval: float, timeout: float | None
) -> Iterator[Position]:
    changed = threading.Condition()
    news: list[Any] = []

    def on_news(each: Any) -> None:
        with changed:
            _latest(news, each)
            changed.notify()

    watch = Watch(task, name, id, interval, on_news)
    deadline = None if timeout is None else time.monotonic() + timeout
    watchers.add(watch)
    try:
        while True:
            with changed:
                left = None if deadline is None else deadline - time.monotonic()
                if not news and not changed.wait_for(lambda: news, left):
                    return
                each = news.pop(0)
            if each is None:
                return
            if isinstance(each, BaseException):
                raise each
            yield each
    finally:
        watchers.remove(watch)


def follow_async(
    app: Any, task_id: Any, name: str | None, id: str | None, interval: float, timeout: float | None
) -> AsyncIterator[Position]:
    """Return an asynchronous iterator over the positions of a task; it holds no thread."""
    task = checked_task("apositions", task_id)
    _checked(interval, timeout)
    return _follow_async(_watchers_of(app), task, name, id, interval, timeout)


async def _follow_async(
    watchers: Watchers, task: str, name: str | None, id: str | None, interval: float, timeout: float | None
) -> AsyncIterator[Position]:
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    news: list[Any] = []

    def arrived(each: Any) -> None:
        _latest(news, each)
        changed.set()

    watch = Watch(task, name, id, interval, lambda each: loop.call_soon_threadsafe(arrived, each))
    deadline = None if timeout is None else loop.time() + timeout
    watchers.add(watch)
    try:
        while True:
            if not news:
                changed.clear()
                try:
                    await asyncio.wait_for(changed.wait(), None if deadline is None else deadline - loop.time())
                except asyncio.TimeoutError:
                    return
            each = news.pop(0)
            if each is None:
                return
            if isinstance(each, BaseException):
                raise each
            yield each
    finally:
        watchers.remove(watch)


def _latest(news: list[Any], each: Any) -> None:
    """Keep the newest position only, for those who read slowly, and the end."""
    if isinstance(each, Position) and news and isinstance(news[-1], Position):
        news[-1] = each
    else:
        news.append(each)
