"""The verbs as typed calls. What each does on the server is told in the header of its Lua file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable, NamedTuple

from . import keys
from .client import Client

__all__ = ("Beat", "Grant", "Joined", "Known", "Report", "Semaphore", "Turn", "Verdict")

#: Milliseconds that live workers get, after Redis lost its data or restarted, to say what they hold.
RECOVERY_MS = 2000
#: Seconds of silence after which a worker whose mailbox connection is gone counts as dead.
SHORT_TIER = 1.5
#: Ids per ``serve`` call, so that no single script keeps the server busy for long.
_SERVE_CHUNK = 500


class Report(NamedTuple):
    """What happened to a slot or a task: one of the kinds that ``lua/turn.lua`` names; ``name`` is the task's."""

    kind: str
    id: str
    token: str
    task: str = ""
    number: int = 0
    name: str = ""


class Grant(NamedTuple):
    """A slot acquired: its id and token, announcements so far, claimable tasks left, whether to keep it when its task
    ends, whether to fetch ahead for it, the family of an id that was made for a call, and what the slot takes of other
    limits."""

    id: str
    token: str
    seq: int
    claimable: int
    keep: bool
    ahead: bool
    family: str = ""
    needs: str = ""


class Known(NamedTuple):
    """An id that was made for a call, its family, its limit (0: no limit), and what one of its tasks needs of other
    limits, as ``"LIMIT WEIGHT LIMIT WEIGHT"``."""

    id: str
    family: str
    limit: int
    needs: str = ""


class Verdict(NamedTuple):
    """What to do with a slot that a task was started in, when that task ends."""

    token: str
    keep: bool
    held: bool
    claimable: int
    ahead: bool


@dataclass(frozen=True)
class Turn:
    """Reply of ``turn``. ``status`` is ``"ok"``, ``"epoch"`` (join: the server restarted) or ``"lost"`` (join: the
    lease lapsed); ``recovery`` is in seconds; ``ready`` are the ids left that have a free slot and a waiting task."""

    status: str
    verdicts: tuple[Verdict, ...] = ()
    grants: tuple[Grant, ...] = ()
    recovery: float = 0.0
    idle: bool = False
    ready: int = 0

    def keeping_nothing(self) -> Turn:
        """Return the same without leave to keep any slot: something was lowered or paused since."""
        return replace(
            self,
            verdicts=tuple(Verdict(each.token, False, each.held, each.claimable, False) for each in self.verdicts),
            grants=tuple(Grant(*each[:4], False, False, *each[6:]) for each in self.grants),
        )


@dataclass(frozen=True)
class Beat:
    """Reply of ``beat``. ``cursor`` is -1 where another worker looks up the queue lengths. ``lookups`` are ids made
    for calls, with their families, whose queue lengths are to be looked up; ``silent`` are those to be forgotten, with
    the marks that ``retire`` needs. ``serve`` says that limits are missing, ``repaired`` how many entries were
    wrong."""

    status: str
    invited: bool = False
    resync: bool = False
    cursor: int = -1
    expired: tuple[tuple[str, str, int], ...] = ()
    mended: tuple[tuple[str, int], ...] = ()
    lookups: tuple[tuple[str, str], ...] = ()
    silent: tuple[tuple[str, str], ...] = ()
    serve: bool = False
    repaired: int = 0


@dataclass(frozen=True)
class Joined:
    """Reply of ``join``; ``recovery`` is in seconds."""

    serve: bool
    recovery: float
    lost: tuple[str, ...]
    began: bool


class Semaphore:
    """The semaphore of one namespace, as one worker sees it; belongs to one thread.

    Raises:
        SemaphoreUnavailable: From every call, when Redis cannot be reached or refuses.
    """

    def __init__(self, client: Client, worker: str) -> None:
        self._client = client
        self._worker = worker

    def join(
        self,
        host: str,
        fleet: str,
        lease: float,
        held: Iterable[tuple[str, str, str, str]],
        away: Collection[str] = (),
    ) -> Joined:
        """Begin a lease of ``lease`` seconds with the slots held, each as id, token, task and what it takes of other
        limits; ``away`` are the tokens of those that their tasks have given back for a while."""
        slots = [(*slot, int(slot[1] in away)) for slot in held]
        self._client.connect()
        serve, recovery, lost, began = self._client.call(
            "join",
            self._worker,
            self._client.run,
            self._client.uptime_ms,
            RECOVERY_MS,
            host,
            fleet,
            int(lease * 1000),
            len(slots),
            *(part for slot in slots for part in slot),
        )
        return Joined(bool(serve), recovery / 1000, tuple(_text(token) for token in lost), bool(began))

    def serve(
        self,
        fleet: str,
        limits: Mapping[str, int],
        families: Iterable[str] = (),
        needs: Mapping[str, str] | None = None,
    ) -> None:
        """Say which ids a fleet serves, the limit of each (0: no limit, negative: it only
        watches), which families of ids it serves, and what the
        tasks of an id need of other limits."""
        each: list[tuple[str, Any, str]] = [(id, limit, (needs or {}).get(id, "")) for id, limit in limits.items()]
        each += [(family, "", "") for family in families]
        for start in range(0, len(each), _SERVE_CHUNK):
            chunk = each[start : start + _SERVE_CHUNK]
            self._client.call("serve", fleet, *(part for one in chunk for part in one))

    def adopt(self) -> None:
        """See which of the ids that were made for calls are ready, now that their families are served."""
        cursor: Any = 0
        while True:
            cursor = int(self._client.call("adopt", cursor, _SERVE_CHUNK))
            if not cursor:
                return

    def learn(self, known: Iterable[Known]) -> None:
        """Tell of ids that were made for calls."""
        each = list(known)
        for start in range(0, len(each), _SERVE_CHUNK):
            self._client.call("learn", *(part for one in each[start : start + _SERVE_CHUNK] for part in one))

    def retire(self, silent: Iterable[tuple[str, str]]) -> int:
        """Forget ids whose queues are gone, each with its mark; without a mark, the queue is not gone."""
        return int(self._client.call("retire", *(part for pair in silent for part in pair)))

    def turn(self, want: int, may_idle: bool, reports: list[Report]) -> Turn:
        """Report on slots and acquire up to ``want`` new ones, or become idle."""
        self._client.connect()
        reply = self._client.call(
            "turn",
            self._worker,
            self._client.run,
            want,
            int(may_idle),
            len(reports),
            *(part for report in reports for part in report),
        )
        status = _text(reply[0])
        if status != "ok":
            return Turn(status)
        return Turn(
            status,
            tuple(Verdict(_text(token), keep > 0, keep >= 0, left, keep == 2) for token, keep, left in reply[1]),
            tuple(
                Grant(_text(id), _text(token), seq, left, keep > 0, keep == 2, _text(family), _text(needs))
                for id, token, seq, left, keep, family, needs in reply[2]
            ),
            reply[3] / 1000,
            reply[4] == 1,
            reply[5],
        )

    def beat(
        self, idle: bool, tokens: Iterable[str], lengths: Mapping[str, int], batch: int = 0, id_ttl: float = 0.0
    ) -> Beat:
        """Renew the lease.

        Args:
            lengths: The queue lengths looked up since the last beat.
            batch: How many queues of ids that were made for calls may be looked up, and how many forgotten.
            id_ttl: Seconds of silence after which such an id is to be forgotten; 0: none is.
        """
        self._client.connect()
        held = [int(token) % 1000003 for token in tokens]
        reply: list[Any] = self._client.call(
            "beat",
            self._worker,
            self._client.run,
            int(idle),
            len(held),
            sum(held),
            int(SHORT_TIER * 1000),
            batch,
            int(id_ttl * 1000),
            len(lengths),
            *(part for pair in lengths.items() for part in pair),
        )
        status = _text(reply[0])
        if status != "ok":
            return Beat(status)
        return Beat(
            status,
            reply[1] == 1,
            reply[2] == 1,
            reply[3],
            tuple((_text(worker), _text(host), slots) for worker, host, slots in reply[4]),
            tuple((_text(id), tasks) for id, tasks in reply[5]),
            tuple((_text(id), _text(family)) for id, family in reply[6]),
            tuple((_text(id), _text(mark)) for id, mark in reply[7]),
            reply[8] == 1,
            reply[9],
        )

    def announce(
        self, id: str, task: str, retries: int, family: str = "", limit: int = 0, kind: str = "", needs: str = ""
    ) -> None:
        """Say that a task was published to an id's queue; ``family``, ``limit`` and ``needs`` of an id made for the
        call."""
        self._client.call("announce", id, task, retries, family, limit, kind, needs)

    def reserve(self, id: str, task: str, retries: int, most: int) -> tuple[bool, int]:
        """Take a place among the waiting tasks of an id, of whom there may be so many; say whether there was one, and
        how many others wait."""
        taken, size = self._client.call("reserve", id, task, retries, most)
        return taken == 1, int(size)

    def cancel(self, id: str, task: str, retries: int) -> None:
        """Give back a place that was reserved: the task was not published."""
        self._client.call("cancel", id, task, retries)

    def leave(self) -> int:
        """End the own lease; return how many slots were still held."""
        return int(self._client.call("leave", self._worker))

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()


def semaphore(
    url: str,
    namespace: str,
    worker: str,
    options: dict[str, Any] | None = None,
    client: Callable[..., Client] = Client,
) -> Semaphore:
    """Return the semaphore of a namespace as a worker sees it; ``client`` makes the connection."""
    return Semaphore(client(url, keys.prefix(namespace), options), worker)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
