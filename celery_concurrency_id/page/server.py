"""A server for the page alone: the standard library's, with a thread for each request."""

from __future__ import annotations

import socket
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

__all__ = ("LOCAL", "server_at", "url_of")

#: Names of this machine, for itself.
LOCAL = ("127.0.0.1", "localhost", "::1")


class _Handler(WSGIRequestHandler):
    timeout = 10  # seconds for a browser to say what it wants

    def address_string(self) -> str:
        return str(self.client_address[0])  # asks no name server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: an open page asks every two seconds."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # As the standard library does, but without asking a name server what this machine is called.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of browsers that went away; what goes wrong in the page is logged by its handler."""


class _Server6(_Server):
    address_family = socket.AF_INET6


def server_at(host: str, port: int, application: Any) -> WSGIServer:
    """Return a server that listens; port 0 is any free one.

    Raises:
        OSError: Somebody else listens there, or the address is not of this machine.
    """
    return make_server(host, port, application, _Server6 if ":" in host else _Server, _Handler)


def url_of(server: WSGIServer) -> str:
    """Return where it listens."""
    host = server.server_name
    return f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}/"
