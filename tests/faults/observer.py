"""Watches the leases in Redis, since whether a lease is valid is for Redis to say and not for a worker."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Any, Callable

import redis

PREFIX = "concurrency:{celery}:"
EVERY = 0.02


class Observer:
    """Samples every 20 ms which workers have a lease: are known to Redis, and were heard within the lease's time.

    A lease ends, for us, at the last sample that still saw it: at most 20 ms before its real end, which is the lenient
    side.
    """

    def __init__(self, client: Callable[[], redis.Redis], lease: float) -> None:
        self._lease_us = lease * 1e6
        self._connect = client
        self._samples: dict[str, list[list[int]]] = defaultdict(list)  # host: [first, last] samples that saw it
        self._present: set[str] = set()
        self._hosts: dict[str, str] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def lapse(self, host: str, after: int) -> int | None:
        """When (ns, CLOCK_MONOTONIC) the lease that a worker had at some moment ended; None if it stands."""
        for first, last in list(self._samples[host]):
            if last >= after:
                still_there = host in self._present and [first, last] == self._samples[host][-1]
                return None if still_there else last
        return after

    def leased(self, host: str, at: int) -> bool:
        """Whether a worker had a lease at some moment."""
        return any(first <= at <= last for first, last in list(self._samples[host]))

    def close(self) -> None:
        self._stopped.set()
        self._thread.join(10)

    def _run(self) -> None:
        client: Any = None
        while not self._stopped.wait(EVERY):
            try:
                if client is None:
                    client = self._connect()
                self._sample(client)
            except (redis.RedisError, OSError):
                # Redis is away: that says nothing about who has a lease.
                client = None

    def _sample(self, client: redis.Redis) -> None:
        before = time.monotonic_ns()
        seconds, micros = client.time()
        oldest = int(seconds) * 1_000_000 + int(micros) - self._lease_us
        workers = client.zrangebyscore(PREFIX + "workers", oldest, "+inf")
        for worker in workers:
            if worker not in self._hosts:
                self._hosts[worker] = client.hget(f"{PREFIX}worker:{worker}", "host") or worker
        present = {self._hosts[worker] for worker in workers}
        for host in present:
            if host not in self._present:
                self._samples[host].append([before, before])
            else:
                self._samples[host][-1][1] = before
        self._present = present
