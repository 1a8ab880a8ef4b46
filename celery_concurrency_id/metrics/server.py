"""The figures of a registry over HTTP."""

from __future__ import annotations

import errno
import os
from typing import Any

from prometheus_client import start_http_server

__all__ = ("MetricsServer",)


class MetricsServer:
    """Answers ``GET /metrics`` in threads of its own, until it is closed.

    Args:
        registry: What to tell.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        ports: How many ports to try, one after another, where others have taken the first.

    Raises:
        OSError: Nobody may listen there, or all of these ports are taken.

    Attributes:
        port: The port that it listens on.
    """

    def __init__(self, registry: Any, host: str, port: int, ports: int = 1) -> None:
        for number in range(port, min(port + ports, 65536)):
            try:
                self._server: Any
                self._server, self._thread = start_http_server(number, host, registry)
                break
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE or number + 1 >= min(port + ports, 65536):
                    raise
        self.port: int = self._server.server_port
        # Pool processes inherit the socket, and must not keep the port when this process is gone.
        os.register_at_fork(after_in_child=self._server.socket.close)

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1)
