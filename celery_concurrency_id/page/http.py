"""What the page needs of HTTP: requests, answers, and the headers that every answer has."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

__all__ = ("Refused", "Request", "Response", "as_json")

#: The most that a change may say, in bytes; a note has 500 characters.
_LONGEST_BODY = 8192

#: Nothing inline, nothing from elsewhere, never in a frame; and what messages say can never become markup.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Refused(Exception):
    """A request that gets no answer but why.

    Args:
        status: The HTTP status.
        said: Why.
        headers: What the answer says besides.
    """

    def __init__(self, status: int, said: str, *headers: tuple[str, str]) -> None:
        self.status, self.said, self.headers = status, said, headers
        super().__init__(said)


class Request:
    """A WSGI environment, as the page reads it.

    Attributes:
        path: Below where the page is mounted.
        mount: Where that is; empty for the root.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.path: str = environ.get("PATH_INFO", "")
        self.mount: str = environ.get("SCRIPT_NAME", "").rstrip("/")

    def asked(self, name: str) -> str:
        """Return a field of the query; empty if there is none.

        Raises:
            Refused: The query has more fields than anybody needs.
        """
        try:
            query = parse_qs(self.environ.get("QUERY_STRING", ""), max_num_fields=20, errors="replace")
        except ValueError as exc:
            raise Refused(400, "the query cannot be read") from exc
        return str(query.get(name, [""])[0])

    def header(self, name: str) -> str:
        """Return a header; empty if there is none."""
        return str(self.environ.get(f"HTTP_{name.upper().replace('-', '_')}", ""))

    @property
    def host(self) -> str:
        """The host, and port, that the browser asked."""
        return self.header("Host") or f"{self.environ['SERVER_NAME']}:{self.environ['SERVER_PORT']}"

    def cookie(self, name: str) -> str:
        """Return a cookie; empty if there is none."""
        try:
            found = SimpleCookie(self.header("Cookie")).get(name)
        except CookieError:
            return ""
        return str(found.value) if found else ""

    def body(self) -> dict[str, Any]:
        """Return the fields of a change.

        Raises:
            Refused: It is no JSON object, or too long.
        """
        if self.environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "a change is said in application/json")
        try:
            length = int(self.environ.get("CONTENT_LENGTH") or 0)
        except ValueError:
            length = -1
        if not 0 <= length <= _LONGEST_BODY:
            raise Refused(413, f"a change is said in {_LONGEST_BODY} bytes at most")
        try:
            said = json.loads(self.environ["wsgi.input"].read(length))
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise Refused(400, "a change is said in a JSON object")
        return said


class Response:
    """An answer.

    Args:
        content: Its body.
        kind: Its content type.
        status: The HTTP status.
        headers: Besides those that every answer has.
    """

    def __init__(self, content: bytes, kind: str, status: int = 200, *headers: tuple[str, str]) -> None:
        self._content, self._status = content, status
        about = [] if status == 304 else [("Content-Type", kind), ("Content-Length", str(len(content)))]
        self.headers = [*about, *headers]

    def send(self, request: Request, start_response: Any) -> list[bytes]:
        """Answer as WSGI wants it."""
        said = {name for name, _ in self.headers}
        more = [] if "Cache-Control" in said else [("Cache-Control", "no-store")]
        start_response(f"{self._status} {HTTPStatus(self._status).phrase}", [*self.headers, *_HEADERS, *more])
        return [] if request.method == "HEAD" else [self._content]


def as_json(told: Any, status: int = 200, *headers: tuple[str, str]) -> Response:
    """Return an answer for a program; also one that is taken for HTML does no harm."""
    text = json.dumps(told, separators=(",", ":"))
    for sign in "<>&":  # only in strings, where JSON knows them by number too
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Response(text.encode(), "application/json", status, *headers)
