"""Counts what clients send to Redis, by MONITOR; what scripts do inside Redis (its "lua" lines) is left out."""

from __future__ import annotations

import re
import socket
import time
from collections import Counter
from types import TracebackType

_LINE = re.compile(rb'^\+[0-9.]+ \[(\d+) ([^\]]+)\] "([^"]*)"')


class Monitor:
    """Watches a server from entering to leaving the block.

    Attributes:
        commands: for each database, how often each command came.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.commands: dict[int, Counter[str]] = {}

    def count(self, url: str) -> int:
        """The number of commands sent to the database of a URL."""
        return sum(self.of(url).values())

    def of(self, url: str) -> Counter[str]:
        return self.commands.get(int(url.rpartition("/")[2]), Counter())

    def __enter__(self) -> Monitor:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        self._stream = self._socket.makefile("rb")
        self._socket.sendall(b"MONITOR\r\n")
        self._stream.readline()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        # Redis buffers what we have not read yet; a line of our own marks where to stop.
        marker = f"end-{time.monotonic_ns()}"
        with socket.create_connection(("127.0.0.1", self._port), timeout=30) as other:
            other.sendall(f"ECHO {marker}\r\n".encode())
            for line in self._stream:
                if marker.encode() in line:
                    break
                self._take(line)
        self._stream.close()
        self._socket.close()

    def _take(self, line: bytes) -> None:
        match = _LINE.match(line)
        if match and match[2] != b"lua":
            self.commands.setdefault(int(match[1]), Counter())[match[3].decode().upper()] += 1
