"""Asks a WSGI application, as a browser or as somebody worse."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

__all__ = ("Answer", "Client", "basic")

HOST = "ops.example.com"


def basic(user: str, password: str) -> str:
    """Return what a browser says of a user who has typed a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json["error"])


class Client:
    """Asks an application; the standard library holds both to WSGI's rules.

    Args:
        headers: Said with every request.
    """

    def __init__(self, application: Any, **headers: str) -> None:
        self.application, self.headers = application, headers
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, address: str, body: Any = None, mount: str = "", **headers: str) -> Answer:
        """Ask; a header of None is not said. Names of headers are those of WSGI, without HTTP_."""
        path, _, query = address.partition("?")
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
        environ |= {"SCRIPT_NAME": mount, "HTTP_HOST": HOST, "wsgi.input": io.BytesIO(content)}
        environ |= {"CONTENT_TYPE": "application/json" if body is not None else ""}
        environ |= {"CONTENT_LENGTH": str(len(content)) if body is not None else ""}
        if self.cookies:
            environ["HTTP_COOKIE"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        for name, value in {**self.headers, **headers}.items():
            environ[name if name in ("CONTENT_TYPE", "CONTENT_LENGTH", "wsgi.url_scheme") else f"HTTP_{name}"] = value
        setup_testing_defaults(environ)
        environ = {name: value for name, value in environ.items() if value is not None}
        said: list[Any] = []
        application = validator(self.application) if _lawful(environ) else self.application
        parts = application(environ, lambda status, headers, error=None: said.extend((status, headers)) or print)
        try:
            content = b"".join(parts)
        finally:
            getattr(parts, "close", bool)()
        answer = Answer(int(said[0].split()[0]), dict(said[1]), content)
        if "Set-Cookie" in answer.headers:
            name, _, value = answer.headers["Set-Cookie"].split(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def get(self, address: str, **headers: Any) -> Answer:
        return self.ask("GET", address, **headers)

    def change(self, command: str, said: Any, **headers: Any) -> Answer:
        """Ask for a change as the page does, from a page that was loaded."""
        if not self.cookies:
            self.get("/state", **{name: value for name, value in headers.items() if name == "AUTHORIZATION"})
        told = {"ORIGIN": f"http://{HOST}", "X_CSRF_TOKEN": self.cookies.get("concurrency_csrf", ""), **headers}
        return self.ask("POST", f"/{command}", said, **told)


def _lawful(environ: dict[str, Any]) -> bool:
    return environ["CONTENT_LENGTH"].isdigit() or not environ["CONTENT_LENGTH"]
