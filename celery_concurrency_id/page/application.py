"""The WSGI application."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Callable
from urllib.parse import quote

from ..control import Concurrency, IdStatus
from ..exceptions import InvalidControl, SemaphoreUnavailable
from ..semaphore.connect import redacted
from ..worker.commands import limit_of
from .access import Access
from .files import file_at
from .http import Refused, Request, Response, as_json
from .reader import Reader
from .state import status_of, told

__all__ = ("ConcurrencyPage",)

logger = logging.getLogger(__name__)

#: What is asked for by POST.
_CHANGES = ("/set", "/reset", "/pause", "/resume")


class ConcurrencyPage:
    """A WSGI application that shows the limits of an app, who runs and who waits, live.

    Nobody is polled while nobody looks, and all who look share one reader. Threads may share the object, and so may
    processes that are forked.

    Args:
        app: A Celery app.
        users: Passwords by user name, which the browser asks for (HTTP Basic: serve the page by TLS).
        authenticate: Gets the WSGI environment of every request; returns the name of who asks, or None to refuse.
        control: Whether those who are let in may set limits and pause ids. A callable gets a user's name and says
            whether this one may. Needs ``users`` or ``authenticate``.
        title: What the page is called; unset: the app's name.
        interval: Seconds between two looks while somebody watches, from 0.5.
        hosts: Names, without port, under which the page may be asked for; None for any.
        origins: Origins, as ``"https://ops.example.com"``, of the page besides the host that the server is asked for:
            for a proxy that passes on another.

    Raises:
        InvalidControl: An argument cannot be right, or anybody unnamed could change limits.
    """

    def __init__(
        self,
        app: Any,
        *,
        users: Mapping[str, str] | None = None,
        authenticate: Callable[[dict[str, Any]], str | None] | None = None,
        control: bool | Callable[[str], bool] = False,
        title: str | None = None,
        interval: float = 2.0,
        hosts: Collection[str] | None = None,
        origins: Collection[str] = (),
    ) -> None:
        for name, value in (("hosts", hosts), ("origins", origins)):
            if isinstance(value, str):
                raise InvalidControl("page", name, value, "a list of them, not one str")
        if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not 0.5 <= interval <= 60:
            raise InvalidControl("page", "interval", interval, "seconds, from 0.5 to 60")
        self._app, self._interval = app, float(interval)
        self._title = title or app.main or "Celery"
        self._access = Access(users, authenticate, control, hosts, origins)
        self._reader = Reader(app, self._interval)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        request = Request(environ)
        try:
            response = self._answer(request)
        except Refused as exc:
            response = as_json({"error": exc.said}, exc.status, *exc.headers)
        return response.send(request, start_response)

    def mounted(self, path: str, application: Any) -> Callable[..., Any]:
        """Return a WSGI application that shows the page below a path, and another application everywhere else.

        Args:
            path: As ``"/limits"``.
            application: The other one, as Django's or Flask's.
        """
        if not (isinstance(path, str) and path.startswith("/") and path.strip("/")):
            raise InvalidControl("page", "path", path, 'a path such as "/limits"')
        path = path.rstrip("/")

        def dispatch(environ: dict[str, Any], start_response: Any) -> Any:
            here = environ.get("PATH_INFO", "")
            if here != path and not here.startswith(f"{path}/"):
                return application(environ, start_response)
            below = {"SCRIPT_NAME": environ.get("SCRIPT_NAME", "") + path, "PATH_INFO": here[len(path) :]}
            return self({**environ, **below}, start_response)

        return dispatch

    def asgi(self, workers: int = 8) -> Any:
        """Return this as an ASGI application, which needs the extra ``page``.

        Args:
            workers: How many requests are answered at once, in threads.
        """
        from a2wsgi import WSGIMiddleware

        application: Any = self  # it has its own type of an environment
        return WSGIMiddleware(application, workers=workers)

    def _answer(self, request: Request) -> Response:
        user = self._access.user(request)
        if not request.path:  # of /limits, where links of a page are those of /; by a path, whatever the host is called
            here = quote(request.mount.rpartition("/")[2].encode("latin-1", "replace"))
            return Response(b"", "text/plain", 308, ("Location", f"{here}/"))
        methods = ("POST",) if request.path in _CHANGES else ("GET", "HEAD")
        if request.method not in methods:
            raise Refused(405, f"expected {' or '.join(methods)}", ("Allow", ", ".join(methods)))
        if request.path == "/state":
            return self._state(request, user)
        if request.path in _CHANGES:
            return self._change(request, self._access.check_change(request, user), request.path[1:])
        return file_at(request)

    def _state(self, request: Request, user: str | None) -> Response:
        try:
            state = told(self._reader, request.asked("q")[:500], request.asked("id"))
        except InvalidControl as exc:
            raise Refused(404, str(exc)) from exc
        state.update(title=self._title, interval=self._interval, user=user, control=self._access.may_control(user))
        return as_json(state, 200, *self._access.token(request))

    def _change(self, request: Request, user: str, command: str) -> Response:
        said = request.body()
        id: Any = said.get("id")
        if isinstance(id, str):
            id = id.encode("utf-8", "replace").decode()  # JSON knows halves of signs, Redis does not
        try:
            status = _changed(Concurrency(self._app, by=user), command, id, said)
        except InvalidControl as exc:
            raise Refused(404 if exc.argument == "id" else 400, str(exc)) from exc
        except SemaphoreUnavailable as exc:
            said_ = f"Redis cannot be reached, and the change may or may not have been made: {redacted(str(exc))}"
            raise Refused(503, said_) from exc
        finally:
            self._reader.expire()
        logger.info("Page: %s %s %r: limit %s, paused %s", user, command, id, status.limit, status.pause is not None)
        return as_json(status_of(status))


def _changed(control: Concurrency, command: str, id: Any, said: dict[str, Any]) -> IdStatus:
    """Make a change; what is said may be anything, and is checked by the control."""
    note = said.get("note") or None
    if command == "set":
        return control.set(id, limit_of(said.get("limit", "")), said.get("expires"), note)
    if command == "pause":
        return control.pause(id, note)
    return control.reset(id) if command == "reset" else control.resume(id)
